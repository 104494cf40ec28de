package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"os"
	"time"
)

// authority is a certificate authority that nobody else believes.
type authority struct {
	key  *ecdsa.PrivateKey
	root *x509.Certificate
}

func newAuthority() (*authority, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	made := &authority{key, &x509.Certificate{
		Subject:               pkix.Name{CommonName: "an STS for tests"},
		IsCA:                  true,
		BasicConstraintsValid: true,
		KeyUsage:              x509.KeyUsageCertSign,
	}}
	raw, err := made.certify(made.root)
	if err != nil {
		return nil, err
	}
	made.root, err = x509.ParseCertificate(raw)
	return made, err
}

// certify makes a certificate out of what is known of one, good for longer than any test.
func (a *authority) certify(subject *x509.Certificate) ([]byte, error) {
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 128))
	if err != nil {
		return nil, err
	}
	subject.SerialNumber = serial
	subject.NotBefore = time.Now().Add(-time.Hour)
	subject.NotAfter = subject.NotBefore.AddDate(1, 0, 0)
	return x509.CreateCertificate(rand.Reader, subject, a.root, &a.key.PublicKey, a.key)
}

func (a *authority) certificate(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
	if !stsName.MatchString(hello.ServerName) {
		return nil, fmt.Errorf("there is no certificate for %q", hello.ServerName)
	}
	raw, err := a.certify(&x509.Certificate{
		DNSNames:    []string{hello.ServerName},
		KeyUsage:    x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	})
	if err != nil {
		return nil, err
	}
	return &tls.Certificate{Certificate: [][]byte{raw}, PrivateKey: a.key}, nil
}

func (a *authority) write(file string) error {
	return os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: a.root.Raw}), 0o644)
}

// readAuthority leaves out what is not an authority: a file of an API server begins with its own certificate, what EKS says does not.
func readAuthority(file string) ([]byte, error) {
	rest, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	var found []byte
	for block, rest := pem.Decode(rest); block != nil; block, rest = pem.Decode(rest) {
		certificate, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, err
		}
		if certificate.IsCA {
			found = append(found, pem.EncodeToMemory(block)...)
		}
	}
	if found == nil {
		return nil, fmt.Errorf("there is none in %s", file)
	}
	return found, nil
}
