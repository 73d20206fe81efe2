package mil

// EncodedSize is how many bytes the operation takes in a program. Its offsets in the file of weights may change it by a few.
func (op *Operation) EncodedSize() int {
	var m message
	m.sub(3, op.encode)
	return len(m)
}
