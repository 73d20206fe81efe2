//go:build unix

package host

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"testing"
	"time"

	"github.com/zclconf/go-cty/cty"
	ctymsgpack "github.com/zclconf/go-cty/cty/msgpack"

	"github.com/optimize-hcl/optimize/sdk/pluginv1"
)

// testHost is a whole host in a process of its own, with a step at work that has a child. It waits to be killed.
func testHost() {
	ctx := context.Background()
	m := NewManager(Options{})
	p := must(m.Plugin(ctx, fakeRef(asPlugin)))
	d := must(m.Describe(ctx, fakeRef(asPlugin)))
	ty := must(pluginv1.ImpliedType(d.GetSteps()[0].GetSchema()))
	b := must(ctymsgpack.Marshal(cty.ObjectVal(map[string]cty.Value{"text": cty.StringVal(os.Args[2]), "secs": cty.NullVal(cty.Number),
		"deep": cty.NullVal(ty.AttributeType("deep"))}), ty))
	dir := must(os.MkdirTemp("", "run"))
	_, _, err := p.Apply(ctx, &pluginv1.ApplyRequest{StepType: "fake_grandchild", Config: &pluginv1.Value{Msgpack: b}, OutDir: dir, ScratchDir: dir}, nil, func(e *pluginv1.ApplyEvent) {
		if f := e.GetLog().GetFields(); f["pid"] != "" {
			fmt.Println(f["pid"], f["own"])
		}
	})
	fmt.Println("unexpected end:", err)
}

func TestPluginAndChildrenEndWithAKilledHost(t *testing.T) {
	t.Parallel()
	endsWithAKilledHost(t, "wait")
}

// A child in a session of its own is in no process group of the plugin's.
func TestDaemonsEndWithAKilledHost(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("only Linux tells whose they are")
	}
	t.Parallel()
	endsWithAKilledHost(t, "wait daemon")
}

func endsWithAKilledHost(t *testing.T, text string) {
	t.Helper()
	tmp, err := os.MkdirTemp("/tmp", "opt-lease-") // what a killed host leaves, nobody removes
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(tmp)
	cmd := exec.Command(os.Args[0], asHost, text)
	cmd.Env = append(os.Environ(), "TMPDIR="+tmp)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var child, own int
	if _, err := fmt.Fscan(bufio.NewReader(out), &child, &own); err != nil {
		t.Fatal(err)
	}
	if !alive(child) || !alive(own) {
		t.Fatal("not running")
	}
	start := time.Now()
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait()
	eventually(t, "plugin or child outlived the host", func() bool { return !alive(child) && !alive(own) })
	t.Logf("gone after %s", time.Since(start))
}
