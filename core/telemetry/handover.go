package telemetry

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"time"

	collogs "go.opentelemetry.io/proto/otlp/collector/logs/v1"
	colmetrics "go.opentelemetry.io/proto/otlp/collector/metrics/v1"
	coltrace "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	"google.golang.org/protobuf/proto"
)

// sendBound is how long a process that was left behind tries to reach the collector.
const sendBound = 30 * time.Second

// handOver leaves the batches that a slow collector has not taken to a process of its own, which outlives the run: the
// command followed by the name of a file with the batches. The user does not wait for it.
func handOver(command []string, batches []batch) error {
	f, err := os.CreateTemp("", "optimize-send-*") // mode 0600
	if err != nil {
		return err
	}
	for _, b := range batches {
		raw, merr := proto.Marshal(b.request)
		head := binary.LittleEndian.AppendUint64([]byte{byte(b.signal)}, uint64(len(raw)))
		_, werr := f.Write(append(head, raw...))
		err = errors.Join(err, merr, werr)
	}
	if err = errors.Join(err, f.Close()); err == nil {
		c := exec.Command(command[0], append(command[1:], f.Name())...)
		detach(c)
		if err = c.Start(); err == nil {
			return c.Process.Release()
		}
	}
	return errors.Join(err, os.Remove(f.Name()))
}

// Send uploads the batches of a file that handOver wrote, and removes it.
func Send(ctx context.Context, path string) error {
	quiet()
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := os.Remove(path); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, sendBound)
	defer cancel()
	up := upstream(ctx, os.Getenv)
	for {
		var head [9]byte
		if _, err := io.ReadFull(f, head[:]); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
		n := binary.LittleEndian.Uint64(head[1:])
		if n > 1<<30 || head[0] >= byte(signals) {
			return fmt.Errorf("%s is no file of batches", path)
		}
		raw, err := io.ReadAll(io.LimitReader(f, int64(n)))
		if err != nil {
			return err
		}
		b := batch{signal: signal(head[0]), request: [...]proto.Message{
			&coltrace.ExportTraceServiceRequest{}, &colmetrics.ExportMetricsServiceRequest{}, &collogs.ExportLogsServiceRequest{}}[head[0]]}
		if err := proto.Unmarshal(raw, b.request); err != nil {
			return err
		}
		if up[b.signal] == nil {
			continue
		}
		if err := up[b.signal].upload(ctx, b); err != nil {
			return err
		}
	}
}
