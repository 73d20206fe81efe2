package cache

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/big"
	"sort"
	"strconv"
	"strings"

	"github.com/zclconf/go-cty/cty"
)

// Key is everything that the bytes of a step's outputs depend on. A step's name, comments, budgets, output paths and
// timeouts are not in it.
type Key struct {
	// Format is [FormatVersion].
	Format   int    `json:"format"`
	StepType string `json:"step_type"`
	// Plugin is the plugin's address; a bundled one's is its name.
	Plugin        string `json:"plugin"`
	PluginVersion string `json:"plugin_version"`
	// PluginDigest is set for a development build, whose version says nothing about its behaviour.
	PluginDigest string `json:"plugin_digest,omitempty"`
	Revision     uint32 `json:"revision"`
	// Config is the configuration after defaults, as [CanonicalConfig] writes it.
	Config json.RawMessage `json:"config,omitempty"`
	// Inputs are the digests of the artifacts by attribute.
	Inputs map[string]string `json:"inputs,omitempty"`
	// Fingerprint is what the plugin's Plan answered.
	Fingerprint map[string]string `json:"fingerprint,omitempty"`
	// Platform is "linux/amd64" and the like.
	Platform string `json:"platform"`
	Seed     uint64 `json:"seed"`
}

// Sum is the SHA-256, in hex, of the key as canonical JSON. The order of maps and the spelling of Config do not
// matter.
func (k Key) Sum() string {
	h := sha256.New()
	var b bytes.Buffer
	b.WriteString(`{"config":`)
	if config, err := decodeJSON(k.Config); err == nil {
		writeCanonical(&b, config)
	} else {
		// Never made by CanonicalConfig. Hashing the text keeps the sum a function of the key.
		writeString(&b, string(k.Config))
	}
	b.WriteString(`,"fingerprint":`)
	writeStringMap(&b, k.Fingerprint)
	fmt.Fprintf(&b, `,"format":%d,"inputs":`, k.Format)
	writeStringMap(&b, k.Inputs)
	for _, f := range []struct{ name, value string }{
		{"platform", k.Platform}, {"plugin", k.Plugin}, {"plugin_digest", k.PluginDigest}, {"plugin_version", k.PluginVersion},
	} {
		fmt.Fprintf(&b, `,"%s":`, f.name)
		writeString(&b, f.value)
	}
	fmt.Fprintf(&b, `,"revision":%d,"seed":%d,"step_type":`, k.Revision, k.Seed)
	writeString(&b, k.StepType)
	b.WriteByte('}')
	h.Write(b.Bytes())
	return hex.EncodeToString(h.Sum(nil))
}

// CanonicalConfig writes a wholly known value as canonical JSON: attributes and set elements sorted, numbers as exact
// decimals. A value with a mark, whatever the mark, is sensitive: it enters as its HMAC-SHA-256 under secret, so equal
// secrets give equal keys and the text is nowhere. Unknown values and capsules are errors.
func CanonicalConfig(v cty.Value, secret []byte) (json.RawMessage, error) {
	var b bytes.Buffer
	if err := encodeValue(&b, v, secret); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}

// CanonicalConfig is the function of that name with the store's own secret, which is made when it is first needed.
func (s *Store) CanonicalConfig(v cty.Value) (json.RawMessage, error) {
	var secret []byte
	if v.ContainsMarked() {
		var err error
		if secret, err = s.hmacKey(); err != nil {
			return nil, err
		}
	}
	return CanonicalConfig(v, secret)
}

// sensitiveKey marks an HMAC in canonical JSON.
const sensitiveKey = "$sensitive"

func encodeValue(b *bytes.Buffer, v cty.Value, secret []byte) error {
	if v.IsMarked() {
		plain, _ := v.Unmark()
		var inner bytes.Buffer
		if err := encodeValue(&inner, plain, secret); err != nil {
			return err
		}
		if len(secret) == 0 {
			return errors.New("a sensitive value needs a secret to enter a cache key")
		}
		mac := hmac.New(sha256.New, secret)
		mac.Write(inner.Bytes())
		fmt.Fprintf(b, `{"%s":"%x"}`, sensitiveKey, mac.Sum(nil))
		return nil
	}
	switch t := v.Type(); {
	case v == cty.NilVal || v.IsKnown() && v.IsNull():
		b.WriteString("null")
	case !v.IsKnown():
		return errors.New("a configuration with an unknown value has no cache key yet")
	case t == cty.Bool:
		b.WriteString(strconv.FormatBool(v.True()))
	case t == cty.String:
		writeString(b, v.AsString())
	case t == cty.Number:
		b.WriteString(decimal(v.AsBigFloat()))
	case t.IsObjectType() || t.IsMapType():
		return encodeMap(b, v, secret)
	case t.IsListType() || t.IsTupleType() || t.IsSetType():
		return encodeSequence(b, v, secret)
	default:
		return fmt.Errorf("a value of type %s cannot enter a cache key", t.FriendlyName())
	}
	return nil
}

func encodeMap(b *bytes.Buffer, v cty.Value, secret []byte) error {
	values := v.AsValueMap()
	names := make([]string, 0, len(values))
	for name := range values {
		names = append(names, name)
	}
	sort.Strings(names)
	b.WriteByte('{')
	for i, name := range names {
		if i > 0 {
			b.WriteByte(',')
		}
		writeString(b, name)
		b.WriteByte(':')
		if err := encodeValue(b, values[name], secret); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	b.WriteByte('}')
	return nil
}

func encodeSequence(b *bytes.Buffer, v cty.Value, secret []byte) error {
	var parts []string
	for it := v.ElementIterator(); it.Next(); {
		_, element := it.Element()
		var part bytes.Buffer
		if err := encodeValue(&part, element, secret); err != nil {
			return err
		}
		parts = append(parts, part.String())
	}
	if v.Type().IsSetType() {
		sort.Strings(parts)
	}
	b.WriteString("[" + strings.Join(parts, ",") + "]")
	return nil
}

// decimal is the shortest decimal text that gives the number back. Its precision depends on the value alone, so 2^60
// reads the same whether it came from a literal or from a float64.
func decimal(f *big.Float) string {
	if f.IsInf() {
		return fmt.Sprintf(`{"$infinity":%d}`, f.Sign())
	}
	if f.Sign() == 0 {
		return "0" // also for -0
	}
	n := new(big.Float).SetPrec(max(512, f.MinPrec())).Set(f)
	text := n.Text('e', -1)
	_, exp, _ := strings.Cut(text, "e")
	if e, err := strconv.Atoi(exp); err == nil && e >= -7 && e < 21 {
		return n.Text('f', -1)
	}
	return text
}

// decodeJSON reads one JSON value, numbers as text. Nothing is null.
func decodeJSON(raw json.RawMessage) (any, error) {
	if len(raw) == 0 {
		return nil, nil
	}
	d := json.NewDecoder(bytes.NewReader(raw))
	d.UseNumber()
	var v any
	if err := d.Decode(&v); err != nil {
		return nil, err
	}
	if _, err := d.Token(); err != io.EOF {
		return nil, errors.New("more than one JSON value")
	}
	return v, nil
}

// writeCanonical writes what decodeJSON gave. It is our own so that no release of encoding/json moves a key.
func writeCanonical(b *bytes.Buffer, v any) {
	switch v := v.(type) {
	case nil:
		b.WriteString("null")
	case bool:
		b.WriteString(strconv.FormatBool(v))
	case json.Number:
		b.WriteString(v.String())
	case string:
		writeString(b, v)
	case []any:
		b.WriteByte('[')
		for i, e := range v {
			if i > 0 {
				b.WriteByte(',')
			}
			writeCanonical(b, e)
		}
		b.WriteByte(']')
	case map[string]any:
		names := make([]string, 0, len(v))
		for name := range v {
			names = append(names, name)
		}
		sort.Strings(names)
		b.WriteByte('{')
		for i, name := range names {
			if i > 0 {
				b.WriteByte(',')
			}
			writeString(b, name)
			b.WriteByte(':')
			writeCanonical(b, v[name])
		}
		b.WriteByte('}')
	}
}

func writeStringMap(b *bytes.Buffer, m map[string]string) {
	v := make(map[string]any, len(m))
	for name, value := range m {
		v[name] = value
	}
	writeCanonical(b, v)
}

// writeString writes a JSON string with the fewest escapes; invalid UTF-8 becomes the replacement character.
func writeString(b *bytes.Buffer, s string) {
	b.WriteByte('"')
	for _, r := range s {
		switch {
		case r == '"' || r == '\\':
			b.WriteByte('\\')
			b.WriteRune(r)
		case r < 0x20:
			fmt.Fprintf(b, `\u%04x`, r)
		default:
			b.WriteRune(r) // utf8.RuneError for invalid bytes
		}
	}
	b.WriteByte('"')
}
