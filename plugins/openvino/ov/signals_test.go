//go:build cgo && linux

package ov

import (
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/optimize-hcl/optimize/tensor"
)

const underFire = "OPTIMIZE_TEST_SIGNALS"

// No thread of Go's keeps a stack for signals that OpenVINO made and took away: a process goes on that compiles, loads, runs and frees
// models on several threads while each of its threads takes thousands of signals. The test is a process of its own, for one that
// dies of this says nothing.
func TestSignals(t *testing.T) {
	if os.Getenv(underFire) != "" {
		takeSignals(t)
		return
	}
	needLibrary(t)
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	c := exec.Command(self, "-test.run", "^TestSignals$", "-test.v")
	c.Env = append(os.Environ(), underFire+"=1")
	out, err := c.CombinedOutput()
	if err != nil {
		t.Errorf("%v\n%s", err, out)
	}
	t.Logf("%s", out)
}

func takeSignals(t *testing.T) {
	needLibrary(t)
	end, sent := make(chan struct{}), make(chan int)
	go func() {
		n := 0
		for {
			select {
			case <-end:
				sent <- n
				return
			default:
			}
			threads, _ := os.ReadDir("/proc/self/task")
			for _, e := range threads {
				id, _ := strconv.Atoi(e.Name())
				for _, s := range []syscall.Signal{syscall.SIGURG, syscall.SIGCHLD, syscall.SIGWINCH, syscall.SIGCONT} {
					_ = syscall.Tgkill(os.Getpid(), id, s)
					n++
				}
			}
			time.Sleep(20 * time.Microsecond)
		}
	}()
	// bf16 is what takes the large registers, where there are such.
	hint := map[string]string{"INFERENCE_PRECISION_HINT": "bf16", "INFERENCE_NUM_THREADS": "2"}
	blob := filepath.Join(t.TempDir(), "m.blob")
	onThread := func(work func()) {
		done := make(chan struct{})
		go func() {
			runtime.LockOSThread() // the thread goes with the goroutine
			work()
			close(done)
		}()
		<-done
	}
	for range 3 {
		var c *Compiled
		onThread(func() {
			m := read(t, digits)
			var err error
			if c, err = m.Compile("CPU", hint); err != nil {
				t.Error(err)
				return
			}
			if err := c.Export(blob); err != nil {
				t.Error(err)
			}
		})
		b, err := os.ReadFile(blob)
		if t.Failed() || err != nil {
			t.Fatal(err)
		}
		loaded, err := Import(b, "CPU", hint)
		if err != nil {
			t.Fatal(err)
		}
		r, err := loaded.NewRun()
		if err != nil {
			t.Fatal(err)
		}
		if err := r.Bind([]tensor.Tensor{image()}); err != nil {
			t.Fatal(err)
		}
		for range 200 {
			if err := r.Do(); err != nil {
				t.Fatal(err)
			}
		}
		onThread(func() { r.Close(); loaded.Close(); c.Close() })
		time.Sleep(20 * time.Millisecond)
	}
	close(end)
	t.Log(<-sent, "signals")
}
