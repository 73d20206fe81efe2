package openvino

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"runtime"

	"github.com/optimize-hcl/optimize/plugins/openvino/ov"
	"github.com/optimize-hcl/optimize/sdk"
	"github.com/optimize-hcl/optimize/tensor"
)

// blobNote is model.blob.json: what the compiled form is for.
type blobNote struct {
	OpenVINO  string `json:"openvino"`
	Device    string `json:"device"`
	FullName  string `json:"full_name"`
	Precision string `json:"precision"`
	Arch      string `json:"arch"`
	// Size is the compiled form's, in bytes, so that one that was cut is not loaded.
	Size int64 `json:"size"`
}

// compile writes the model in the device's own form, and gives the device's full name.
func compile(xml, dir string, c ExportConfig, lib ov.Library, threads int) (string, error) {
	name, err := fullName(c.Compiled)
	if err != nil {
		return "", err
	}
	// The IR as it was written, so that what is compiled is what is beside it.
	m, err := ov.Read(xml)
	if err != nil {
		return "", sdk.CodeError(codeWrite, "what was written cannot be read", sentence(err.Error()))
	}
	defer m.Close()
	properties := map[string]string{}
	if c.Precision != "device" {
		properties["INFERENCE_PRECISION_HINT"] = c.Precision
	}
	compiled, err := m.Compile(c.Compiled, properties)
	if err != nil {
		return "", compileError(m, c.Compiled, err)
	}
	defer compiled.Close()
	precision, err := compiled.Property("INFERENCE_PRECISION_HINT")
	if err != nil {
		precision = c.Precision
	}
	if err := compiled.Export(filepath.Join(dir, compiledFile)); err != nil {
		return "", sdk.Diagnostic{Code: codeDevice, Path: []any{"compiled"}, Summary: "the compiled model cannot be written", Detail: sentence(err.Error())}
	}
	st, err := os.Stat(filepath.Join(dir, compiledFile))
	if err != nil {
		return "", fmt.Errorf("the compiled model cannot be written: %w", err)
	}
	note, err := json.MarshalIndent(blobNote{lib.Build, c.Compiled, name, precision, runtime.GOARCH, st.Size()}, "", "  ")
	if err != nil {
		return "", err
	}
	return name, os.WriteFile(filepath.Join(dir, compiledNote), append(note, '\n'), 0o644)
}

// imported loads the compiled form that lies beside an IR, where it is for this OpenVINO, this device and this precision; nil where
// there is none such, and the model is to be compiled. unmap is to be called when the compiled model is closed.
func imported(xml string, o options, lib ov.Library) (_ *ov.Compiled, unmap func() error) {
	if filepath.Base(xml) != irFile {
		return nil, nil
	}
	dir := filepath.Dir(xml)
	b, err := os.ReadFile(filepath.Join(dir, compiledNote))
	if err != nil {
		return nil, nil
	}
	var note blobNote
	if err := json.Unmarshal(b, &note); err != nil || note.OpenVINO != lib.Build || note.Device != o.device || note.Arch != runtime.GOARCH ||
		note.Precision != o.properties["INFERENCE_PRECISION_HINT"] {
		return nil, nil
	}
	if name, err := ov.DeviceProperty(o.device, "FULL_DEVICE_NAME"); err != nil || name != note.FullName {
		return nil, nil
	}
	blob, unmap, err := tensor.Map(filepath.Join(dir, compiledFile))
	if err != nil {
		return nil, nil
	}
	if int64(len(blob)) == note.Size {
		if c, err := ov.Import(blob, o.device, o.properties); err == nil {
			return c, unmap
		}
	}
	_ = unmap()
	return nil, nil // the IR says the same
}
