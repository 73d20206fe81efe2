package host

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"time"
)

// clientCertificate makes the host's certificate for one run: a plugin takes orders from its holder alone. go-plugin's
// own has a key on the curve P-521, which takes longer to make, and which the TLS of gRPC outside of Go (BoringSSL) does
// not accept from a client: such a plugin would never see the host's certificate.
func clientCertificate() (tls.Certificate, string, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return tls.Certificate{}, "", err
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		return tls.Certificate{}, "", err
	}
	t := &x509.Certificate{
		Subject: pkix.Name{CommonName: "localhost", Organization: []string{"Optimize"}}, DNSNames: []string{"localhost"}, SerialNumber: serial,
		KeyUsage:    x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
		// A machine's clock may be wrong, and a run may take a week.
		NotBefore: time.Now().Add(-24 * time.Hour), NotAfter: time.Now().Add(365 * 24 * time.Hour), BasicConstraintsValid: true, IsCA: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, t, t, key.Public(), key)
	if err != nil {
		return tls.Certificate{}, "", err
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})), nil
}

// tlsFor is the configuration for one plugin; go-plugin adds the certificate that its handshake gives, and without one
// no connection comes about.
func tlsFor(c tls.Certificate) *tls.Config {
	return &tls.Config{Certificates: []tls.Certificate{c}, MinVersion: tls.VersionTLS12, ServerName: "localhost", RootCAs: x509.NewCertPool()}
}
