package cache

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"math/big"
	"reflect"
	"strings"
	"testing"

	"github.com/zclconf/go-cty/cty"
)

func sumOf(s string) string {
	h := sha256.Sum256([]byte(s))
	return hex.EncodeToString(h[:])
}

// The sum of a key must never move: it would empty every cache. Changing it on purpose means raising FormatVersion.
func TestKeySumIsPinned(t *testing.T) {
	config, err := CanonicalConfig(cty.ObjectVal(map[string]cty.Value{
		"target": cty.StringVal("auto"), "ratio": cty.MustParseNumberVal("0.005"), "per_channel": cty.True,
		"skip": cty.ListVal([]cty.Value{cty.StringVal("a<b>&\u2028"), cty.StringVal("\x01\"\\é")}), "none": cty.NullVal(cty.String),
	}), nil)
	if err != nil {
		t.Fatal(err)
	}
	const wantConfig = `{"none":null,"per_channel":true,"ratio":0.005,"skip":["a<b>&` + "\u2028" + `","\u0001\"\\é"],"target":"auto"}`
	if string(config) != wantConfig {
		t.Errorf("config\n%s\nwant\n%s", config, wantConfig)
	}
	const want = "0bdddf050909a40d2db6d7ba20414bf6bdcc585bf498069f120d21b5a3346a15"
	if got := testKey(string(config)).Sum(); got != want {
		t.Errorf("sum %s, want %s", got, want)
	}
}

func TestKeySum(t *testing.T) {
	base := testKey(`{"a":1,"b":[true,null]}`)
	if spelled := testKey("{ \"b\" : [true, null],\n\"\\u0061\": 1}"); spelled.Sum() != base.Sum() {
		t.Error("the spelling of the configuration moves the sum")
	}
	round, err := json.Marshal(base)
	if err != nil {
		t.Fatal(err)
	}
	var back Key
	if err := json.Unmarshal(round, &back); err != nil || back.Sum() != base.Sum() {
		t.Error("a key read back has another sum", err)
	}
	for name, change := range map[string]func(*Key){
		"format": func(k *Key) { k.Format++ }, "type": func(k *Key) { k.StepType = "x" }, "plugin": func(k *Key) { k.Plugin = "x" },
		"version": func(k *Key) { k.PluginVersion = "x" }, "digest": func(k *Key) { k.PluginDigest = "x" }, "revision": func(k *Key) { k.Revision++ },
		"config": func(k *Key) { k.Config = json.RawMessage(`{"a":1.0,"b":[true,null]}`) }, "bad config": func(k *Key) { k.Config = json.RawMessage(`{"a":1`) },
		"two values": func(k *Key) { k.Config = append(k.Config, "{}"...) },
		"input":      func(k *Key) { k.Inputs = map[string]string{"model": "x"} }, "fingerprint": func(k *Key) { k.Fingerprint = nil },
		"platform": func(k *Key) { k.Platform = "x" }, "seed": func(k *Key) { k.Seed++ },
	} {
		k := base
		change(&k)
		if k.Sum() == base.Sum() {
			t.Errorf("%s does not move the sum", name)
		}
	}
}

func TestCanonicalNumbers(t *testing.T) {
	third, _, _ := big.ParseFloat("1", 10, 512, big.ToNearestEven)
	third.Quo(third, big.NewFloat(3).SetPrec(512))
	for _, c := range []struct {
		v    cty.Value
		want string
	}{
		{cty.NumberIntVal(0), "0"}, {cty.NumberVal(new(big.Float).Neg(new(big.Float))), "0"}, {cty.NumberIntVal(1000000), "1000000"},
		{cty.NumberIntVal(-7), "-7"}, {cty.MustParseNumberVal("0.1"), "0.1"}, {cty.MustParseNumberVal("1e3"), "1000"},
		{cty.MustParseNumberVal("1.50"), "1.5"}, {cty.MustParseNumberVal("1e30"), "1e+30"}, {cty.MustParseNumberVal("1e-9"), "1e-09"},
		{cty.NumberIntVal(1 << 60), "1152921504606846976"}, {cty.NumberFloatVal(1 << 60), "1152921504606846976"},
		{cty.NumberFloatVal(0.1), "0.1000000000000000055511151231257827021181583404541015625"}, {cty.PositiveInfinity, `{"$infinity":1}`},
	} {
		got, err := CanonicalConfig(c.v, nil)
		if err != nil || string(got) != c.want || !json.Valid(got) {
			t.Errorf("%#v: %s, %v; want %s", c.v, got, err, c.want)
		}
	}
	got, err := CanonicalConfig(cty.NumberVal(third), nil)
	if err != nil || !strings.HasPrefix(string(got), "0.33333333333333333333333333333333") {
		t.Error(string(got), err)
	}
}

func TestCanonicalConfig(t *testing.T) {
	set := func(vals ...string) cty.Value {
		var vs []cty.Value
		for _, v := range vals {
			vs = append(vs, cty.ObjectVal(map[string]cty.Value{"n": cty.StringVal(v)}))
		}
		return cty.SetVal(vs)
	}
	a, _ := CanonicalConfig(set("b", "a", "c"), nil)
	if string(a) != `[{"n":"a"},{"n":"b"},{"n":"c"}]` {
		t.Errorf("set %s", a)
	}
	for name, v := range map[string]cty.Value{"unknown": cty.ObjectVal(map[string]cty.Value{"x": cty.UnknownVal(cty.String)}), "capsule": cty.CapsuleVal(cty.Capsule("c", reflect.TypeOf(0)), new(int)), "no secret": cty.StringVal("x").Mark("s")} {
		if got, err := CanonicalConfig(v, nil); err == nil {
			t.Errorf("%s: %s", name, got)
		}
	}
	if got, err := CanonicalConfig(cty.NilVal, nil); err != nil || string(got) != "null" {
		t.Error(string(got), err)
	}
}

func TestSensitive(t *testing.T) {
	s := open(t)
	value := func(secret string) cty.Value {
		return cty.ObjectVal(map[string]cty.Value{"plain": cty.True, "token": cty.StringVal(secret).Mark("sensitive")})
	}
	a, err := s.CanonicalConfig(value("hunter2"))
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(a), "hunter2") {
		t.Fatalf("the secret is in %s", a)
	}
	again, err := Open(s.Dir())
	if err != nil {
		t.Fatal(err)
	}
	defer again.Close()
	if b, err := again.CanonicalConfig(value("hunter2")); err != nil || string(b) != string(a) {
		t.Fatalf("%s\n%s\n%v", a, b, err)
	}
	b, _ := s.CanonicalConfig(value("hunter3"))
	if string(a) == string(b) {
		t.Fatal("another secret gives the same key")
	}
	if other, _ := open(t).CanonicalConfig(value("hunter2")); string(other) == string(a) {
		t.Fatal("two stores have the same secret")
	}
	commit(t, s, testKey(string(a)), "x", "1")
	changes := s.Explain("x", testKey(string(b)))
	if len(changes) != 1 || changes[0] != (Change{"config.token", `"(sensitive)"`, `"(sensitive)"`}) {
		t.Fatalf("%+v", changes)
	}
}

func TestExplain(t *testing.T) {
	s := open(t)
	if got := s.Explain("x", testKey(`{}`)); got != nil {
		t.Fatal(got)
	}
	old := testKey(`{"per_channel":true,"range":{"low":1,"odd name":2},"skip":["a","b"],"gone":1}`)
	commit(t, s, old, "x", "1")
	now := testKey(`{"per_channel":false,"range":{"low":1.5,"odd name":3},"skip":["a","c"],"fresh":"v"}`)
	now.Inputs = map[string]string{"model": strings.Repeat("c", 64), "calibration": strings.Repeat("b", 64)}
	now.Fingerprint = map[string]string{"onnxruntime": "1.33.0", "target": "onnxruntime-x86-vnni"}
	now.Revision, now.Seed = 3, 8
	var got []string
	for _, c := range s.Explain("x", now) {
		got = append(got, c.String())
	}
	want := []string{
		"revision 2 → 3", `config.fresh (absent) → "v"`, "config.gone 1 → (absent)", "config.per_channel true → false", "config.range.low 1 → 1.5",
		`config.range["odd name"] 2 → 3`, `config.skip[1] "b" → "c"`, "inputs.model aaaaaaaaaaaa… → cccccccccccc…",
		"fingerprint.onnxruntime 1.32.0 → 1.33.0", "seed 7 → 8",
	}
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	if got := s.Explain("x", old); len(got) != 1 || got[0].Field != "cache" {
		t.Errorf("the same key: %v", got)
	}
	if got := s.Explain("y", now); got != nil {
		t.Errorf("another name: %v", got)
	}
	// After a hit on the first key, comparisons are with it again.
	commit(t, s, now, "x", "2")
	s.Used("x", old.Sum())
	if got := s.Explain("x", now); len(got) != len(want) {
		t.Errorf("after Used: %v", got)
	}
}

func FuzzRecord(f *testing.F) {
	f.Add([]byte(`{"sum":"x","key":{"config":{}},"outputs":{"m":{"digest":"../x","tree":true}}}`))
	f.Add([]byte(`{"schema":"optimize.tree/v1","files":[{"path":"a","digest":"` + strings.Repeat("a", 64) + `","size":1}]}`))
	f.Add([]byte(`{"schema":"optimize.tree/v1","files":[{"path":"../a","digest":"` + strings.Repeat("a", 64) + `","size":-1}]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		if m, ok := parseManifest(data); ok {
			for _, file := range m.Files {
				if strings.Contains(file.Path, "..") && !isTreePath(file.Path) || strings.HasPrefix(file.Path, "/") {
					t.Fatalf("path %q", file.Path)
				}
			}
		}
		k := testKey("")
		k.Config = data
		if k.Sum() != k.Sum() {
			t.Fatal("the sum is no function")
		}
		diffKeys(k, testKey(`{"a":1}`))
	})
}
