package main

import (
	"crypto/rand"
	"crypto/tls"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"sync"
	"time"
)

// The regional endpoints of the partition `aws`: nothing else is reached through this proxy.
var stsName = regexp.MustCompile(`^sts\.([a-z]{2}(?:-[a-z]+)+-\d)\.amazonaws\.com$`)

// sts is GetCallerIdentity behind a proxy for CONNECT. An authenticator that knows no endpoint but AWS's is led here by HTTPS_PROXY,
// and believes the certificates by SSL_CERT_FILE.
type sts struct {
	keys      *keyring
	upstream  string // another STS that answers for the credentials that it has issued; "" if there is none
	inner     chan net.Conn
	authority *authority

	mutex    sync.Mutex
	away     time.Time // until then nothing is answered
	answered int
	refused  int
}

// ServeHTTP is the proxy.
func (s *sts) ServeHTTP(response http.ResponseWriter, request *http.Request) {
	name, port, _ := net.SplitHostPort(request.Host)
	switch {
	case request.Method != http.MethodConnect:
		http.Error(response, "this proxy knows CONNECT only", http.StatusMethodNotAllowed)
	case port != "443" || !stsName.MatchString(name):
		log.Printf("refused a connection to %s", request.Host)
		http.Error(response, "this proxy leads to STS only", http.StatusForbidden)
	case s.isAway():
		http.Error(response, "STS is away", http.StatusServiceUnavailable)
	default:
		connection, _, err := response.(http.Hijacker).Hijack()
		if err != nil {
			log.Printf("unable to take over a connection: %v", err)
			return
		}
		if _, err := io.WriteString(connection, "HTTP/1.1 200 Connection established\r\n\r\n"); err != nil {
			connection.Close()
			return
		}
		s.inner <- connection
	}
}

// Accept, Close and Addr make a listener of the connections that came through the proxy.
func (s *sts) Accept() (net.Conn, error) { return <-s.inner, nil }
func (s *sts) Close() error              { return nil }
func (s *sts) Addr() net.Addr            { return &net.TCPAddr{} }

// serve answers what comes through the proxy.
func (s *sts) serve() error {
	config := &tls.Config{GetCertificate: s.authority.certificate}
	server := http.Server{Handler: http.HandlerFunc(s.identify), ReadHeaderTimeout: time.Minute}
	return server.Serve(tls.NewListener(s, config))
}

func (s *sts) identify(response http.ResponseWriter, request *http.Request) {
	holder, err := s.verify(request)
	s.count(err)
	if err != nil {
		log.Printf("STS refused: %v", err)
		s.refuse(response, err)
		return
	}
	if holder.issuer == issuedUpstream {
		s.forward(response, request, holder)
		return
	}
	answer := map[string]any{"GetCallerIdentityResponse": map[string]any{
		"GetCallerIdentityResult": map[string]string{
			"Account": account,
			"Arn":     holder.role.assumedArn(session),
			"UserId":  "AROA" + strings.ToUpper(hash(holder.role.path)[:16]) + ":" + session,
		},
		"ResponseMetadata": map[string]string{"RequestId": rand.Text()},
	}}
	respond(response, http.StatusOK, answer)
}

// verify finds out who asks.
func (s *sts) verify(request *http.Request) (credential, error) {
	if s.isAway() {
		return credential{}, errAway
	}
	host := stsName.FindStringSubmatch(request.Host)
	if host == nil {
		return credential{}, refusal{"InvalidRequest", "there is no STS at " + request.Host}
	}
	signed, err := readSignature(request)
	if err != nil {
		return credential{}, err
	}
	if request.Method != http.MethodGet || request.URL.Path != "/" || signed.query.Get("Action") != "GetCallerIdentity" ||
		signed.query.Get("Version") != "2011-06-15" {
		return credential{}, refusal{"InvalidAction", "this STS knows GetCallerIdentity of 2011-06-15 only"}
	}
	holder, known := s.keys.find(signed.accessKeyID)
	if !known {
		return credential{}, refusal{"InvalidClientTokenId", "the security token included in the request is invalid"}
	}
	return holder, signed.check(request, holder, host[1], "sts", time.Now())
}

var errAway = refusal{"ServiceUnavailable", "STS is away"}

func (s *sts) refuse(response http.ResponseWriter, err error) {
	known, status := refused(err)
	if known == errAway {
		status = http.StatusServiceUnavailable
		response.Header().Set("Connection", "close")
	}
	respond(response, status, map[string]any{
		"Error":     map[string]string{"Code": known.code, "Message": known.message, "Type": "Sender"},
		"RequestId": rand.Text(),
	})
}

// forward has another STS say who the holder is. The signature has been checked here, and goes on in a header: LocalStack looks for an
// access key nowhere else.
func (s *sts) forward(response http.ResponseWriter, request *http.Request, holder credential) {
	question := url.Values{"Action": {"GetCallerIdentity"}, "Version": {"2011-06-15"}}
	onward, err := http.NewRequestWithContext(request.Context(), http.MethodGet, s.upstream+"/?"+question.Encode(), nil)
	if err != nil {
		s.refuse(response, err)
		return
	}
	onward.Host = request.Host
	onward.Header.Set("Accept", request.Header.Get("Accept"))
	if err := sign(onward, holder, stsName.FindStringSubmatch(request.Host)[1], "sts", time.Now()); err != nil {
		s.refuse(response, err)
		return
	}
	answer, err := client.Do(onward)
	if err != nil {
		s.refuse(response, fmt.Errorf("unable to ask the STS at %s: %w", s.upstream, err))
		return
	}
	defer answer.Body.Close()
	response.Header().Set("Content-Type", answer.Header.Get("Content-Type"))
	response.WriteHeader(answer.StatusCode)
	io.Copy(response, answer.Body) // whoever waits for it sees that it is cut
}

func (s *sts) count(err error) {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	if err == nil {
		s.answered++
	} else {
		s.refused++
	}
}

func (s *sts) isAway() bool {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	return time.Now().Before(s.away)
}

func (s *sts) goAway(until time.Time) {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	s.away = until
}
