// Command aws is what of AWS a worker and an authenticator need in order to believe each other, on loopback: STS behind a proxy, which
// checks signatures as AWS does and no emulator, and EKS's DescribeCluster. It knows no cluster but the one it is told of.
package main

import (
	"encoding/base64"
	"flag"
	"fmt"
	"log"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"
)

type settings struct {
	directory, api, authority, cluster, region, upstream string
	stsPort, eksPort                                     int
}

func main() {
	var s settings
	flag.StringVar(&s.directory, "directory", ".", "where `env` and `sts-ca.pem` are written")
	flag.StringVar(&s.api, "api", "", "the API server's `URL`")
	flag.StringVar(&s.authority, "authority", "", "a PEM `file`: the certificate authority of the API server")
	flag.StringVar(&s.cluster, "cluster", "EKSCluster", "the `name` of the cluster")
	flag.StringVar(&s.region, "region", "us-east-1", "the `region` of the cluster")
	flag.StringVar(&s.upstream, "upstream", "", "the `URL` of an STS that issues the credentials and says whose they are [default: done here]")
	flag.IntVar(&s.stsPort, "sts-port", 26008, "the `port` of the proxy that leads to STS")
	flag.IntVar(&s.eksPort, "eks-port", 26009, "the `port` of EKS")
	flag.Parse()
	log.Fatal(run(s))
}

func run(s settings) error {
	trusted, err := readAuthority(s.authority)
	if err != nil {
		return fmt.Errorf("unable to read the API server's certificate authority: %w", err)
	}
	ca, err := newAuthority()
	if err != nil {
		return fmt.Errorf("unable to make a certificate authority: %w", err)
	}
	if err := ca.write(filepath.Join(s.directory, "sts-ca.pem")); err != nil {
		return err
	}
	keys := &keyring{known: map[string]credential{}}
	identities := &sts{keys: keys, upstream: s.upstream, inner: make(chan net.Conn), authority: ca}
	clusters := &eks{keys: keys, region: s.region, endpoint: s.api, authority: base64.StdEncoding.EncodeToString(trusted),
		clusters: map[string]*cluster{s.cluster: {status: "ACTIVE"}}}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /clusters/{name}", clusters.describe)
	mux.Handle("POST /{$}", assuming{keys, s.region})
	control{keys, identities, clusters}.register(mux)

	proxyListener, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", s.stsPort))
	if err != nil {
		return err
	}
	eksListener, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", s.eksPort))
	if err != nil {
		return err
	}
	failed := make(chan error)
	go func() { failed <- identities.serve() }()
	go func() {
		failed <- (&http.Server{Handler: identities, ReadHeaderTimeout: time.Minute}).Serve(proxyListener)
	}()
	go func() { failed <- (&http.Server{Handler: mux, ReadHeaderTimeout: time.Minute}).Serve(eksListener) }()
	if err := publish(s, keys, clusters); err != nil {
		return err
	}
	return <-failed
}

// publish gives every role a credential, and writes the file by which tests find everything. It is there when all of this works.
func publish(s settings, keys *keyring, clusters *eks) error {
	lines := []string{
		"AWS_REGION=" + s.region,
		fmt.Sprintf("AWS_ENDPOINT_URL_EKS=http://127.0.0.1:%d", s.eksPort),
		fmt.Sprintf("AWS_ENDPOINT_URL_STS=http://127.0.0.1:%d", s.eksPort),
		fmt.Sprintf("RUNJOB_EKS_CONTROL=http://127.0.0.1:%d/control", s.eksPort),
		fmt.Sprintf("RUNJOB_EKS_STS_PROXY=http://127.0.0.1:%d", s.stsPort),
		"RUNJOB_EKS_CLUSTER=" + s.cluster,
		"RUNJOB_EKS_CLUSTER_ENDPOINT=" + s.api,
		"RUNJOB_EKS_CLUSTER_CA=" + clusters.authority,
	}
	for _, r := range roles {
		made := issue(r)
		if s.upstream != "" {
			var err error
			if made, err = assume(s.upstream, s.region, r); err != nil {
				return fmt.Errorf("unable to assume the role %s: %w", r.arn(), err)
			}
		}
		keys.add(made)
		prefix := "RUNJOB_EKS_" + strings.ToUpper(r.name)
		lines = append(lines,
			prefix+"_ROLE_ARN="+r.arn(),
			prefix+"_ACCESS_KEY_ID="+made.accessKeyID,
			prefix+"_SECRET_ACCESS_KEY="+made.secretAccessKey,
			prefix+"_SESSION_TOKEN="+made.sessionToken,
		)
	}
	file := filepath.Join(s.directory, "env")
	if err := os.WriteFile(file+".part", []byte(strings.Join(lines, "\n")+"\n"), 0o600); err != nil {
		return err
	}
	return os.Rename(file+".part", file)
}
