//go:build unix

package view

import (
	"os"
	"os/signal"
	"syscall"
)

// handleSuspend has ^Z leave a terminal that one can work on: the live area goes and the cursor shows while the process
// is suspended.
func (v *View) handleSuspend() {
	c := make(chan os.Signal, 1)
	signal.Notify(c, syscall.SIGTSTP)
	go func() {
		defer signal.Stop(c)
		for {
			select {
			case <-v.done:
				return
			case <-c:
			}
			stopped := make(chan struct{})
			select {
			case <-v.done:
				return
			case v.pause <- stopped:
			}
			<-stopped
			_ = syscall.Kill(os.Getpid(), syscall.SIGSTOP)
			stopped <- struct{}{} // goes on here
		}
	}()
}
