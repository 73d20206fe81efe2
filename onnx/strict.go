package onnx

// InferOwnShapes is InferShapes for rewrites that must not believe what a model says of
// the values inside: only its inputs and its constants count.
func InferOwnShapes(m *Model) (*Shapes, error) {
	s, err := (&inference{strict: true}).of(m)
	if err != nil {
		return nil, err
	}
	s.forget(m.sharedNames())
	return s, nil
}
