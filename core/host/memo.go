package host

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"

	"google.golang.org/protobuf/proto"

	"github.com/optimize-hcl/optimize/sdk/pluginv1"
)

// memoMagic begins a remembered Describe answer; raise the number when what is remembered changes its meaning.
const memoMagic = "optimize describe 1\n"

// memo is where the answer of a plugin is remembered: by what it runs, so that a new build is asked anew. Empty when it
// cannot be.
func (m *Manager) memo(r Ref) string {
	if m.opts.MemoDir == "" || r.Digest == "" {
		return ""
	}
	sum := sha256.Sum256(fmt.Appendf(nil, "%s\x00%s\x00%d", r.Digest, r.Name, pluginv1.ProtocolVersion))
	return filepath.Join(m.opts.MemoDir, r.Name+"-"+hex.EncodeToString(sum[:16])+".describe")
}

// remembered reads a memo. One that is damaged in any way is as good as none.
func (m *Manager) remembered(r Ref) (*pluginv1.DescribeResponse, bool) {
	path := m.memo(r)
	if path == "" {
		return nil, false
	}
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, false
	}
	body, ok := bytes.CutPrefix(b, []byte(memoMagic))
	if !ok || len(body) < sha256.Size {
		return nil, false
	}
	sum := sha256.Sum256(body[sha256.Size:])
	if !bytes.Equal(sum[:], body[:sha256.Size]) {
		return nil, false
	}
	d := &pluginv1.DescribeResponse{}
	if proto.Unmarshal(body[sha256.Size:], d) != nil || d.GetName() != r.Name {
		return nil, false
	}
	return d, true
}

// remember writes a memo by renaming a whole file into place. That it could not costs time, nothing else.
func (m *Manager) remember(r Ref, d *pluginv1.DescribeResponse) error {
	path := m.memo(r)
	if path == "" {
		return nil
	}
	body, err := proto.MarshalOptions{Deterministic: true}.Marshal(d)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(m.opts.MemoDir, 0o755); err != nil {
		return err
	}
	f, err := os.CreateTemp(m.opts.MemoDir, ".memo-*")
	if err != nil {
		return err
	}
	sum := sha256.Sum256(body)
	_, err = f.Write(append(append([]byte(memoMagic), sum[:]...), body...))
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		_ = os.Remove(f.Name())
	}
	return err
}
