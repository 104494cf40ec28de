package main

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"testing"
	"time"
)

// through is a client that believes the authority of an STS, and reaches everything through its proxy.
func through(t *testing.T, s *sts) *http.Client {
	t.Helper()
	var err error
	if s.authority, err = newAuthority(); err != nil {
		t.Fatal(err)
	}
	s.inner = make(chan net.Conn)
	go s.serve()
	proxy := httptest.NewServer(s)
	t.Cleanup(proxy.Close)
	address, err := url.Parse(proxy.URL)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(s.authority.root)
	return &http.Client{Transport: &http.Transport{Proxy: http.ProxyURL(address), TLSClientConfig: &tls.Config{RootCAs: pool}}}
}

func ask(t *testing.T, client *http.Client, holder credential) (int, []byte) {
	t.Helper()
	request := get(t, presign(holder, "us-east-1", "mine", time.Now()))
	request.Header.Set("X-K8s-Aws-Id", "mine")
	response, err := client.Do(request)
	if err != nil {
		return http.StatusServiceUnavailable, nil // CONNECT was refused
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response.StatusCode, body
}

func TestTheProxyLeadsToStsOnly(t *testing.T) {
	client := through(t, &sts{keys: &keyring{known: map[string]credential{}}})
	for _, elsewhere := range []string{
		"https://example.invalid/", "https://sts.us-east-1.amazonaws.com:8443/", "https://sts.us-east-1.amazonaws.com.invalid/",
		"https://x.sts.us-east-1.amazonaws.com/", "https://sts.amazonaws.com/",
	} {
		if response, err := client.Get(elsewhere); err == nil {
			t.Errorf("%s: %s", elsewhere, response.Status)
		}
	}
}

func TestTheArnOfARoleHasNoPath(t *testing.T) {
	made := issue(roles[0])
	client := through(t, &sts{keys: &keyring{known: map[string]credential{made.accessKeyID: made}}})
	status, body := ask(t, client, made)
	var answer struct {
		GetCallerIdentityResponse struct {
			GetCallerIdentityResult struct{ Account, Arn, UserId string }
		}
	}
	if err := json.Unmarshal(body, &answer); status != http.StatusOK || err != nil {
		t.Fatalf("%d: %s", status, body)
	}
	want := "arn:aws:sts::111122223333:assumed-role/EKS_StepFunctions_Integration/runjob-under-test"
	if got := answer.GetCallerIdentityResponse.GetCallerIdentityResult.Arn; got != want {
		t.Errorf("got %s", got)
	}
}

func TestAnAccessKeyThatNobodyHasIssuedIsRefused(t *testing.T) {
	client := through(t, &sts{keys: &keyring{known: map[string]credential{}}})
	if status, body := ask(t, client, issue(roles[0])); status != http.StatusForbidden {
		t.Errorf("%d: %s", status, body)
	}
}

func TestAnStsThatIsAwayRefusesOpenConnectionsToo(t *testing.T) {
	made := issue(roles[0])
	service := &sts{keys: &keyring{known: map[string]credential{made.accessKeyID: made}}}
	client := through(t, service)
	expected := []int{http.StatusOK, http.StatusServiceUnavailable, http.StatusServiceUnavailable, http.StatusOK}
	for step, want := range expected {
		switch step {
		case 1:
			service.goAway(time.Now().Add(time.Hour))
		case 3:
			service.goAway(time.Now())
		}
		if status, body := ask(t, client, made); status != want {
			t.Errorf("step %d: %d: %s", step, status, body)
		}
	}
}

func TestAnotherStsAnswersForWhatItHasIssued(t *testing.T) {
	asked := make(chan string, 1)
	upstream := httptest.NewServer(http.HandlerFunc(func(response http.ResponseWriter, request *http.Request) {
		asked <- request.Host + " " + request.URL.Query().Get("Action")
		response.Write([]byte("an answer"))
	}))
	defer upstream.Close()
	made := issue(roles[0])
	made.issuer = issuedUpstream
	client := through(t, &sts{keys: &keyring{known: map[string]credential{made.accessKeyID: made}}, upstream: upstream.URL})
	if status, body := ask(t, client, made); status != http.StatusOK || string(body) != "an answer" {
		t.Errorf("%d: %s", status, body)
	}
	if got := <-asked; got != "sts.us-east-1.amazonaws.com GetCallerIdentity" {
		t.Errorf("asked for %s", got)
	}
}
