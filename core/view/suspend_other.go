//go:build !unix

package view

// handleSuspend does nothing: there is no job control here.
func (v *View) handleSuspend() {}
