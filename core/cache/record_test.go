package cache

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// The bytes of a record are what other stores will read: testdata/record.json changes only together with recordSchema.
func TestRecordGolden(t *testing.T) {
	key := testKey(`{"per_channel": true, "ratio": 0.50, "token": {"$sensitive": "ab"}}`)
	rec := &Record{
		Key: key, Sum: key.Sum(), Name: `step.q["a:b"]`, Result: json.RawMessage(`{"share_macs": 0.998, "nodes": 9}`),
		Outputs: map[string]Artifact{
			"model":  {Kind: "model", Format: "onnx", Digest: strings.Repeat("d", 64), Size: 12, Labels: map[string]string{"quantized": "int8", "a": "b"}, Path: "/home/ada/never"},
			"shards": {Kind: "dataset", Format: "safetensors", Digest: strings.Repeat("e", 64), Size: 34, Tree: true},
		},
		Started:  time.Date(2026, 3, 1, 11, 0, 0, 120000000, time.FixedZone("CET", 3600)),
		Duration: 1500 * time.Millisecond, PluginVersion: "0.1.0", Nondeterministic: true,
	}
	got, err := rec.encode()
	if err != nil {
		t.Fatal(err)
	}
	const golden = "testdata/record.json"
	if os.Getenv("OPTIMIZE_UPDATE_GOLDEN") != "" {
		if err := os.WriteFile(golden, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if want := read(t, golden); string(got) != want {
		t.Fatalf("the record is\n%s\nand was\n%s", got, want)
	}
	// Reading it and writing it again changes nothing.
	back, err := parseRecord(got, rec.Sum)
	if err != nil {
		t.Fatal(err)
	}
	if again, err := back.encode(); err != nil || string(again) != string(got) {
		t.Fatalf("written again it is\n%s (%v)", again, err)
	}
}

// A record means the same in another store: carried over with its blobs it is a hit.
func TestRecordsArePortable(t *testing.T) {
	from, to := open(t), open(t)
	rec := commit(t, from, testKey(`{}`), Name(from.Dir(), "step.a"), "the model")
	if text := read(t, from.recordPath(rec.Sum)); strings.Contains(text, from.Dir()) {
		t.Fatalf("the record names a folder: %s", text)
	}
	for _, p := range []func(*Store) string{func(s *Store) string { return s.recordPath(rec.Sum) }, func(s *Store) string { return s.blobPath(rec.Outputs["model"].Digest) }} {
		write(t, p(to), read(t, p(from)))
	}
	got, ok := to.Lookup(rec.Sum)
	if !ok || read(t, got.Outputs["model"].Path) != "the model" || got.Name != "step.a" {
		t.Fatalf("%+v", got)
	}
}

func TestRepair(t *testing.T) {
	ctx := context.Background()
	s := open(t)
	good := commit(t, s, testKey(`{"n":1}`), Name("/r", "step.good"), "good")
	bad := commit(t, s, testKey(`{"n":2}`), Name("/r", "step.bad"), "bad")
	tree := commitTree(t, s, testKey(`{"n":3}`), Name("/r", "dataset.d"), map[string]string{"x": "one", "y": "two"})
	overwrite(t, s.blobPath(bad.Outputs["model"].Digest), "BAD")
	overwrite(t, s.blobPath(tree.Outputs[""].Digest), "{}")
	problems, err := s.Verify(ctx)
	if err != nil {
		t.Fatal(err)
	}
	var steps []string
	for _, p := range problems {
		for _, u := range p.Steps {
			steps = append(steps, u.Addr)
		}
	}
	if all := strings.Join(steps, " "); !strings.Contains(all, "step.bad") || !strings.Contains(all, "dataset.d") || strings.Contains(all, "good") {
		t.Fatalf("%v concern %s", problems, all)
	}
	if err := s.Repair(problems); err != nil {
		t.Fatal(err)
	}
	sound(t, s)
	for _, rec := range []*Record{bad, tree} {
		if _, ok := s.Lookup(rec.Sum); ok {
			t.Errorf("%s is a hit without its files", rec.Name)
		}
	}
	if _, ok := s.Lookup(good.Sum); !ok {
		t.Error("what is good was removed")
	}
	// What was removed can be made again.
	commit(t, s, testKey(`{"n":2}`), Name("/r", "step.bad"), "bad")
	commitTree(t, s, testKey(`{"n":3}`), Name("/r", "dataset.d"), map[string]string{"x": "one", "y": "two"})
	sound(t, s)
	if _, ok := s.Lookup(tree.Sum); !ok {
		t.Error("the tree is not there again")
	}
}

func TestParts(t *testing.T) {
	k := testKey(`{"a": {"b": [1, 2]}, "none": null, "token": {"$sensitive": "abcd"}, "deep": {"t": {"$sensitive": "ef"}}}`)
	var lines []string
	for _, p := range k.Parts() {
		lines = append(lines, p.Field+"="+p.Value)
	}
	text := strings.Join(lines, "\n")
	for _, want := range []string{"step_type=quantize_static", "config.a.b=[1,2]", "config.none=null", `config.token="(sensitive)"`, `config.deep.t="(sensitive)"`, "fingerprint.onnxruntime=1.32.0", "seed=7", "inputs.model=" + strings.Repeat("a", 64)} {
		if !strings.Contains(text, want) {
			t.Errorf("%q is not in\n%s", want, text)
		}
	}
	if strings.Contains(text, "abcd") || strings.Contains(text, `"ef"`) {
		t.Errorf("an HMAC shows in\n%s", text)
	}
}

func TestSizeText(t *testing.T) {
	for n, want := range map[int64]string{0: "0 B", 999: "999 B", 1000: "1 kB", 1999: "1.99 kB", 12345678: "12.3 MB", 999999999: "999 MB", 1050000000: "1.05 GB", 5e15: "5000 TB"} {
		if got := sizeText(n, " "); got != want {
			t.Errorf("%d is %q, want %q", n, got, want)
		}
	}
}

// The message of a full disk names the store, how much it holds, and the command that frees some.
func TestFullDiskMessage(t *testing.T) {
	s := open(t)
	commit(t, s, testKey(`{}`), "a", strings.Repeat("x", 4000))
	err := failure("write", filepath.Join(s.Dir(), "blobs", "sha256", "ab", "x"), errNoSpace)
	for _, want := range []string{"The cache " + s.Dir() + " holds 4 kB", "free", "`optimize cache gc --max-size 2kB`", "OPTIMIZE_CACHE"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q is not in %q", want, err)
		}
	}
	if text := Advice(s.Dir(), 3e15); !strings.Contains(text, "about 3000 TB is needed") || !strings.Contains(text, "--max-size 0B") {
		t.Error(text)
	}
}

func FuzzParse(f *testing.F) {
	rec := &Record{Key: testKey(`{}`), Name: "step.a", Outputs: map[string]Artifact{"m": {Digest: strings.Repeat("d", 64), Size: 1}}}
	rec.Sum = rec.Key.Sum()
	b, err := rec.encode()
	if err != nil {
		f.Fatal(err)
	}
	m, err := manifest{Schema: treeSchema, Files: []treeEntry{{"a/b", strings.Repeat("e", 64), 3}}}.encode()
	if err != nil {
		f.Fatal(err)
	}
	for _, seed := range [][]byte{b, m, []byte("optimize-cache 2\n"), []byte(`{"addr":"step.a","sum":"` + rec.Sum + `"}`), []byte("{\"addr\":\"a\"}\nx\n"), nil} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		if r, err := parseRecord(data, rec.Sum); err == nil {
			again, err := r.encode()
			if err != nil {
				t.Fatal(err)
			}
			if _, err := parseRecord(again, rec.Sum); err != nil {
				t.Fatalf("%q was a record, and is none when it is written again: %v", data, err)
			}
			r.Key.Parts()
			Diff(testKey(`{"a":1}`), r.Key)
		}
		if m, ok := parseManifest(data); ok {
			for _, e := range m.Files {
				if !filepath.IsLocal(filepath.FromSlash(e.Path)) {
					t.Fatalf("%q leads out of the tree", e.Path)
				}
			}
			if m.size() < 0 {
				t.Fatalf("a manifest of %d bytes", m.size())
			}
		}
		if doc := parseLatest(data); doc != nil && !isDigest(doc.Sum) {
			t.Fatal("no digest")
		}
		for _, u := range parseUses(data) {
			if u.Addr == "" {
				t.Fatal("a use without an address")
			}
		}
		if v, err := parseFormat("d", string(data)); err == nil && (v < 1 || v > StoreVersion) {
			t.Fatalf("format %d", v)
		}
		oldName(string(data))
	})
}
