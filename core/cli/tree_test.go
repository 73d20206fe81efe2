package cli

import (
	"io"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/spf13/cobra"
)

// commandTree is every command that is shown, of a program with one bundled plugin.
func commandTree() (*cobra.Command, []*cobra.Command) {
	a := &app{Program: Program{Version: "1.2.3", Bundled: map[string]func(){"quantize": nil}}, stdout: io.Discard, stderr: io.Discard}
	root := a.root()
	var all []*cobra.Command
	walk(root, func(c *cobra.Command) {
		if c == root || c.IsAvailableCommand() || c.Name() == "help" {
			all = append(all, c)
		}
	})
	return root, all
}

// TestCommandTree: every command explains itself, with examples that parse, checks its arguments, and stands in a group.
func TestCommandTree(t *testing.T) {
	root, all := commandTree()
	if len(all) < 15 {
		t.Fatalf("there are only %d commands", len(all))
	}
	for _, c := range all {
		name := c.CommandPath()
		if len(c.Long) < 50 {
			t.Errorf("%s: Long is %q", name, c.Long)
		}
		for _, l := range strings.Split(c.Long, "\n") {
			if len([]rune(l)) > 92 {
				t.Errorf("%s: a line of its help is %d wide: %s", name, len([]rune(l)), l)
			}
		}
		if strings.HasSuffix(c.Short, ".") || c.Short == "" {
			t.Errorf("%s: Short is %q", name, c.Short)
		}
		if c.Args == nil {
			t.Errorf("%s does not check its arguments", name)
		}
		if c != root && c.Annotations[seeAlso] == "" {
			t.Errorf("%s: its help points to no other command (help.go)", name)
		}
		if c.Parent() == root && c.GroupID == "" {
			t.Errorf("%s is in no group (help.go)", name)
		}
		if c.Example == "" {
			t.Errorf("%s has no example", name)
		}
		for _, l := range strings.Split(c.Example, "\n") {
			checkExample(t, c, l)
		}
	}
}

var (
	quoted   = regexp.MustCompile(`'[^']*'|"[^"]*"`)
	shellEnd = regexp.MustCompile(` (\||>|<|&&|#|;|  ).*| {3,}.*|\)$`)
)

// checkExample looks up the command of an example's line and parses its flags.
func checkExample(t *testing.T, c *cobra.Command, line string) {
	t.Helper()
	line = strings.TrimSpace(line)
	_, line, ok := strings.Cut(line, "optimize ")
	if !ok {
		t.Errorf("%s: %q is no example", c.CommandPath(), line)
		return
	}
	line = strings.TrimSuffix(line, `)"`)
	line = shellEnd.ReplaceAllString(quoted.ReplaceAllString(line, "x=1"), "")
	root, _ := commandTree()
	cmd, rest, err := root.Find(strings.Fields(line))
	if err != nil || cmd == root {
		t.Errorf("%s: the example %q names no command (%v)", c.CommandPath(), line, err)
		return
	}
	if err := cmd.ParseFlags(rest); err != nil {
		t.Errorf("%s: the example %q: %v", c.CommandPath(), line, err)
		return
	}
	if cmd.Args != nil {
		if err := cmd.Args(cmd, cmd.Flags().Args()); err != nil {
			t.Errorf("%s: the example %q: %v", c.CommandPath(), line, err)
		}
	}
}

// TestCommandsHaveJSON: docs/json-output.md names each command that prints a result, and no other.
func TestCommandsHaveJSON(t *testing.T) {
	b, err := os.ReadFile("../../docs/json-output.md")
	if err != nil {
		t.Fatal(err)
	}
	told := map[string]bool{}
	for _, m := range regexp.MustCompile("(?m)^\\| `(optimize [a-z ]+)` \\| `optimize\\.").FindAllStringSubmatch(string(b), -1) {
		told[m[1]] = true
	}
	_, all := commandTree()
	for _, c := range all {
		_, none := c.Annotations[noJSON]
		name := c.CommandPath()
		if told[name] == none {
			t.Errorf("%s: has a JSON form: %v, docs/json-output.md tells of one: %v", name, !none, told[name])
		}
		delete(told, name)
	}
	for name := range told {
		t.Errorf("docs/json-output.md tells of %s, which is no command", name)
	}
}
