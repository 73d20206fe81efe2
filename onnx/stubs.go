package onnx

// CountMACs: total and per node; unknown dims count 1.
func CountMACs(m *Model, s *Shapes) (total int64, perNode map[*Node]int64) { return }
func CountParameters(m *Model) int64                                       { return 0 }
func (m *Model) UpgradeOpset(to int64) error                               { return nil }
func Check(m *Model) error                                                 { return nil }
