package onnx

type Shapes struct{}

// Of returns what is known of a value of the model's graph: its element type and axes (nil, with ok, for an unknown rank).
func (s *Shapes) Of(value string) (elem DataType, shape []Dim, ok bool) { return }

func InferShapes(m *Model) (*Shapes, error) { return nil, nil }

// CountMACs: total and per node; unknown dims count 1.
func CountMACs(m *Model, s *Shapes) (total int64, perNode map[*Node]int64) { return }
func CountParameters(m *Model) int64                                       { return 0 }
func (m *Model) UpgradeOpset(to int64) error                               { return nil }
func Check(m *Model) error                                                 { return nil }
