package telemetry

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"

	"go.opentelemetry.io/otel/exporters/otlp/otlptrace"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracegrpc"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	collogs "go.opentelemetry.io/proto/otlp/collector/logs/v1"
	colmetrics "go.opentelemetry.io/proto/otlp/collector/metrics/v1"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/proto"
)

// wishes are the standard variables of one signal: its own before the general one.
type wishes struct {
	signal signal
	getenv func(string) string
}

// get is a variable such as OTEL_EXPORTER_OTLP_METRICS_HEADERS, else OTEL_EXPORTER_OTLP_HEADERS.
func (w wishes) get(name string) string {
	if v := strings.TrimSpace(w.getenv("OTEL_EXPORTER_OTLP_" + strings.ToUpper(w.signal.path()) + "_" + name)); v != "" {
		return v
	}
	return strings.TrimSpace(w.getenv("OTEL_EXPORTER_OTLP_" + name))
}

// wanted tells whether the signal is to leave the machine. By default nothing does, not even for the default endpoint.
func (w wishes) wanted() bool {
	if strings.EqualFold(strings.TrimSpace(w.getenv("OTEL_SDK_DISABLED")), "true") {
		return false
	}
	if w.signal == traces && strings.TrimSpace(w.getenv("OTEL_TRACES_SAMPLER")) == "always_off" {
		return false
	}
	exporters := strings.TrimSpace(w.getenv("OTEL_" + strings.ToUpper(w.signal.path()) + "_EXPORTER"))
	if exporters == "" {
		return w.get("ENDPOINT") != ""
	}
	for _, name := range strings.Split(exporters, ",") {
		if strings.EqualFold(strings.TrimSpace(name), "otlp") {
			return true
		}
	}
	return false
}

// grpc tells which of the two protocols is asked for; http/protobuf is the specification's default.
func (w wishes) grpc() bool {
	protocol := w.get("PROTOCOL")
	return protocol == "grpc" || protocol == "" && strings.HasPrefix(w.get("ENDPOINT"), "unix:")
}

// upstream gives an uploader for each signal that the standard variables send to a collector.
func upstream(ctx context.Context, getenv func(string) string) (up [signals]uploader) {
	for s := range signals {
		w := wishes{s, getenv}
		if !w.wanted() {
			continue
		}
		if s == traces {
			// Without the exporters' retries: they begin with a pause longer than an upload may take, so all they do is
			// to keep a refused connection from being told before the run ends.
			var c otlptrace.Client
			if w.grpc() {
				c = otlptracegrpc.NewClient(otlptracegrpc.WithRetry(otlptracegrpc.RetryConfig{}))
			} else {
				c = otlptracehttp.NewClient(otlptracehttp.WithRetry(otlptracehttp.RetryConfig{}))
			}
			if c.Start(ctx) == nil {
				up[s] = traceUploader{c}
			}
			continue
		}
		if u, err := w.uploader(); err == nil {
			up[s] = u
		}
	}
	return up
}

// uploader sends what plugins exported on, as it came. The SDK's exporters take measurements, not messages, so the two
// protocols are spoken here (OTLP specification 1.9, sections OTLP/gRPC and OTLP/HTTP).
func (w wishes) uploader() (uploader, error) {
	endpoint := w.get("ENDPOINT")
	secure, err := w.tls()
	if err != nil {
		return nil, err
	}
	headers := map[string]string{}
	for _, kv := range strings.Split(w.get("HEADERS"), ",") {
		k, v, ok := strings.Cut(kv, "=")
		if v, err := url.PathUnescape(strings.TrimSpace(v)); ok && err == nil {
			headers[strings.TrimSpace(k)] = v
		}
	}
	if w.grpc() {
		if endpoint == "" {
			endpoint = "http://localhost:4317"
		}
		creds := credentials.NewTLS(secure)
		target := endpoint
		if u, err := url.Parse(endpoint); err == nil && (u.Scheme == "http" || u.Scheme == "https") {
			target = u.Host
			if u.Scheme == "http" {
				creds = insecure.NewCredentials()
			}
		} else if strings.HasPrefix(endpoint, "unix:") || strings.EqualFold(w.get("INSECURE"), "true") {
			creds = insecure.NewCredentials()
		}
		conn, err := grpc.NewClient(target, grpc.WithTransportCredentials(creds))
		if err != nil {
			return nil, err
		}
		return &grpcUploader{conn, headers}, nil
	}
	if endpoint == "" {
		endpoint = "http://localhost:4318"
	}
	// The signal's own endpoint is taken as it is.
	if w.getenv("OTEL_EXPORTER_OTLP_"+strings.ToUpper(w.signal.path())+"_ENDPOINT") == "" {
		endpoint = strings.TrimRight(endpoint, "/") + "/v1/" + w.signal.path()
	}
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.TLSClientConfig = secure
	return &httpUploader{endpoint, headers, &http.Client{Transport: transport}}, nil
}

func (w wishes) tls() (*tls.Config, error) {
	c := &tls.Config{MinVersion: tls.VersionTLS12}
	if path := w.get("CERTIFICATE"); path != "" {
		pem, err := os.ReadFile(path)
		if err != nil {
			return nil, err
		}
		c.RootCAs = x509.NewCertPool()
		if !c.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("%s holds no certificate", path)
		}
	}
	if cert, key := w.get("CLIENT_CERTIFICATE"), w.get("CLIENT_KEY"); cert != "" && key != "" {
		pair, err := tls.LoadX509KeyPair(cert, key)
		if err != nil {
			return nil, err
		}
		c.Certificates = []tls.Certificate{pair}
	}
	return c, nil
}

type grpcUploader struct {
	conn    *grpc.ClientConn
	headers map[string]string
}

func (u *grpcUploader) upload(ctx context.Context, b batch) error {
	ctx = metadata.NewOutgoingContext(ctx, metadata.New(u.headers))
	switch r := b.request.(type) {
	case *colmetrics.ExportMetricsServiceRequest:
		_, err := colmetrics.NewMetricsServiceClient(u.conn).Export(ctx, r)
		return err
	case *collogs.ExportLogsServiceRequest:
		_, err := collogs.NewLogsServiceClient(u.conn).Export(ctx, r)
		return err
	}
	return errors.New("not a request for metrics or logs")
}

func (u *grpcUploader) stop(context.Context) { _ = u.conn.Close() }

type httpUploader struct {
	url     string
	headers map[string]string
	client  *http.Client
}

func (u *httpUploader) upload(ctx context.Context, b batch) error {
	body, err := proto.Marshal(b.request)
	if err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, u.url, bytes.NewReader(body))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/x-protobuf")
	for k, v := range u.headers {
		req.Header.Set(k, v)
	}
	resp, err := u.client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	_, _ = io.Copy(io.Discard, io.LimitReader(resp.Body, 1<<16))
	if resp.StatusCode/100 != 2 {
		return fmt.Errorf("the collector answered %s to %s", b.signal.path(), resp.Status)
	}
	return nil
}

func (u *httpUploader) stop(context.Context) { u.client.CloseIdleConnections() }
