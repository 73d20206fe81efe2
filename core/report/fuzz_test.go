package report

import (
	"bytes"
	"encoding/json"
	"testing"
)

// FuzzReports reads records that anybody may have written: every report of them is whole.
func FuzzReports(f *testing.F) {
	for _, r := range []*Run{held(), hostile(), {}} {
		b, err := json.Marshal(r)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Add([]byte(`{"actions":[{"kind":"step","type":"t","result":{"share_a":1e400,"n":-1000,"l":["a: b",": ","",":"],"share_b":-1}}],"evaluations":[{"measurements":[{"metrics":{"size":{"point":-1e300},"macs":{"point":1e300}}}]}]}`))
	f.Add([]byte(`{"status":"\ufffe","actions":[{"kind":"\uffff","addr":"step.x","status":"\u009b"}],"diagnostics":[{"severity":"\ufffe","detail":"\ufffe"}]}`))
	f.Fuzz(func(t *testing.T, doc []byte) {
		var r Run
		if json.Unmarshal(doc, &r) != nil {
			return
		}
		for _, format := range Formats {
			var b bytes.Buffer
			if err := Write(&b, format, &r); err != nil {
				t.Fatalf("%s: %s", format, err)
			}
			if format == "html" || format == "junit" {
				wellFormed(t, b.Bytes())
			}
		}
		for i := range r.Evaluations {
			Table(&bytes.Buffer{}, Style{Width: len(doc) % 100}, &r.Evaluations[i])
		}
	})
}
