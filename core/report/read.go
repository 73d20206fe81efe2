package report

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"
)

// maxRun bounds a record that is read into memory.
const maxRun = 256 << 20

// ReadFile reads the record of a run.
func ReadFile(path string) (*Run, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxRun))
	if err != nil {
		return nil, err
	}
	return Parse(data)
}

// Parse reads the text of a record.
func Parse(data []byte) (*Run, error) {
	r := &Run{}
	if err := json.Unmarshal(data, r); err != nil {
		return nil, fmt.Errorf("it is damaged: %w", err)
	}
	switch {
	case r.Schema == Schema:
		return r, nil
	case strings.HasPrefix(r.Schema, "optimize.run/"):
		return nil, fmt.Errorf("it is of the form %.40q, and this version of optimize reads %s: update optimize", r.Schema, Schema)
	}
	return nil, fmt.Errorf("it is no record of a run")
}
