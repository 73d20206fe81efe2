package host

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// process is a plugin's process and its group. It implements go-plugin's runner.Runner, since go-plugin's own gives the
// plugin the user's terminal as stdin, waits for pipes that a grandchild may hold, and kills the process alone.
type process struct {
	cmd    *exec.Cmd
	out    *output
	group  group
	stdout *io.PipeReader // the handshake alone
	silent chan struct{}  // closed when stdout is at its end
	exited chan struct{}  // closed when the process is gone and its output read

	mu       sync.Mutex
	started  bool
	reason   string // why we ended it
	protocol int    // of the handshake; 0 when there was none
	state    *os.ProcessState
}

func newProcess(command, env []string, dir string, out *output) *process {
	cmd := exec.Command(command[0], command[1:]...)
	cmd.Env, cmd.Dir = env, dir
	return &process{cmd: cmd, out: out, silent: make(chan struct{}), exited: make(chan struct{})}
}

// Start starts the process in a group of its own, so that Ctrl-C in the terminal does not reach it (the host decides),
// and its children can be ended with it.
func (p *process) Start(context.Context) error {
	outR, outW, err := os.Pipe()
	if err != nil {
		return err
	}
	errR, errW, err := os.Pipe()
	if err != nil {
		return closeAll(err, outR, outW)
	}
	p.cmd.Stdout, p.cmd.Stderr = outW, errW
	if err := p.launch(); err != nil {
		return closeAll(err, outR, outW, errR, errW)
	}
	_ = closeAll(nil, outW, errW)
	pr, pw := io.Pipe()
	p.stdout = pr
	var readers sync.WaitGroup
	readers.Go(func() {
		// Before the SDK takes over stdout, an init function may print there. Only the handshake may pass.
		passed := false
		copyLines(outR, func(s string) {
			v, ok := protocolOf(s)
			if passed || !ok {
				p.out.line(s)
				return
			}
			passed = true
			p.mu.Lock()
			p.protocol = v
			p.mu.Unlock()
			_, _ = io.WriteString(pw, s+"\n")
		})
		close(p.silent)
		_ = pw.Close()
	})
	readers.Go(func() { copyLines(errR, p.out.line) })
	go func() {
		_ = p.cmd.Wait() // its error is in the state
		p.group.kill(p.cmd)
		killStrays(filepath.Dir(p.cmd.Dir))
		// Whoever left the group may still hold the pipes.
		cut := time.AfterFunc(500*time.Millisecond, func() { _ = closeAll(nil, outR, errR) })
		readers.Wait()
		cut.Stop()
		_ = closeAll(nil, outR, errR)
		p.mu.Lock()
		p.state = p.cmd.ProcessState
		p.mu.Unlock()
		close(p.exited)
	}()
	return nil
}

// launch starts the process unless its end came first.
func (p *process) launch() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.reason != "" {
		return errors.New(p.reason)
	}
	p.group.prepare(p.cmd)
	if err := p.cmd.Start(); err != nil {
		return err
	}
	p.group.started(p.cmd)
	p.started = true
	return nil
}

func closeAll(err error, files ...*os.File) error {
	for _, f := range files {
		_ = f.Close()
	}
	return err
}

// end kills the process group; the first reason is the one that counts.
func (p *process) end(reason string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.reason == "" {
		p.reason = reason
	}
	if !p.started {
		return
	}
	select {
	case <-p.exited: // its id may belong to another by now
	default:
		p.group.kill(p.cmd)
	}
}

// lost tells whether the process has exited or was told to end: what is asked of it now would not be answered.
func (p *process) lost() bool {
	p.mu.Lock()
	told := p.reason != ""
	p.mu.Unlock()
	return told || p.hasExited()
}

func (p *process) hasExited() bool {
	select {
	case <-p.exited:
		return true
	default:
		return false
	}
}

// offered is the protocol version of the handshake, 0 without one.
func (p *process) offered() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.protocol
}

// status tells how the process ended.
func (p *process) status() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case p.reason != "":
		return p.reason
	case p.state == nil:
		return "its connection was lost"
	}
	if ws, ok := p.state.Sys().(syscall.WaitStatus); ok && ws.Signaled() {
		if ws.Signal() == syscall.SIGKILL {
			return "killed (SIGKILL): most often because the system ran out of memory"
		}
		return fmt.Sprintf("killed by signal %d (%s)", int(ws.Signal()), ws.Signal())
	}
	if p.state.Success() {
		return "it exited in the middle of its work (exit status 0)"
	}
	return p.state.String()
}

// The rest of runner.Runner.

func (p *process) Wait(context.Context) error {
	<-p.exited
	return nil
}

// Kill is called by go-plugin alone, also when the end of stdout told it that the process is dying by itself: how it
// died must not be lost then.
func (p *process) Kill(context.Context) error {
	select {
	case <-p.silent:
		if waitFor(p.exited, time.Second, nil) {
			return nil
		}
	default:
	}
	p.end("ended by optimize")
	return nil
}

func (p *process) Stdout() io.ReadCloser           { return p.stdout }
func (p *process) Stderr() io.ReadCloser           { return io.NopCloser(strings.NewReader("")) } // read by us
func (p *process) Name() string                    { return p.cmd.Path }
func (p *process) Diagnose(context.Context) string { return "" }

// ran tells whether there ever was a process.
func (p *process) ran() bool {
	if p == nil {
		return false
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.started
}

func (p *process) ID() string {
	if !p.ran() {
		return ""
	}
	return strconv.Itoa(p.cmd.Process.Pid)
}

func (p *process) PluginToHost(network, addr string) (string, string, error) {
	return network, addr, nil
}

func (p *process) HostToPlugin(network, addr string) (string, string, error) {
	return network, addr, nil
}
