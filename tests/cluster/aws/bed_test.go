package main

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// What `eks up` has brought up, seen from outside: real servers but for STS and EKS.
type bed struct {
	t    *testing.T
	env  map[string]string
	kube *http.Client
}

const jobs = "/apis/batch/v1/namespaces/default/jobs?limit=1"

func theBed(t *testing.T) bed {
	t.Helper()
	directory := os.Getenv("RUNJOB_EKS_DIR")
	if directory == "" {
		t.Skip("`tests/cluster/eks check` runs this, after `eks up`")
	}
	text, err := os.ReadFile(filepath.Join(directory, "env"))
	if err != nil {
		t.Fatal(err)
	}
	env := map[string]string{}
	for line := range strings.Lines(string(text)) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), "=")
		env[name] = value
	}
	return bed{t, env, clientFor(t, env["RUNJOB_EKS_CLUSTER_CA"])}
}

// clientFor believes an authority as EKS hands it out.
func clientFor(t *testing.T, authority string) *http.Client {
	t.Helper()
	pem, err := base64.StdEncoding.DecodeString(authority)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		t.Fatalf("no certificate in %q", pem)
	}
	return &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}}, Timeout: 30 * time.Second}
}

func (b bed) holder(role string) credential {
	prefix := "RUNJOB_EKS_" + role + "_"
	return credential{accessKeyID: b.env[prefix+"ACCESS_KEY_ID"], secretAccessKey: b.env[prefix+"SECRET_ACCESS_KEY"],
		sessionToken: b.env[prefix+"SESSION_TOKEN"]}
}

func (b bed) url(holder credential, age time.Duration) string {
	return presign(holder, b.env["AWS_REGION"], b.env["RUNJOB_EKS_CLUSTER"], time.Now().Add(-age))
}

// list asks the API server for Jobs.
func (b bed) list(token string) (int, string) {
	b.t.Helper()
	request := get(b.t, b.env["RUNJOB_EKS_CLUSTER_ENDPOINT"]+jobs)
	request.Header.Set("Authorization", "Bearer "+token)
	return b.send(b.kube, request)
}

func (b bed) send(client *http.Client, request *http.Request) (int, string) {
	b.t.Helper()
	response, err := client.Do(request)
	if err != nil {
		b.t.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		b.t.Fatal(err)
	}
	return response.StatusCode, string(body)
}

func (b bed) expect(want int, token string) string {
	b.t.Helper()
	status, body := b.list(token)
	if status != want {
		b.t.Errorf("expected %d, got %d: %s", want, status, body)
	}
	return body
}

// until lists with one token until the answer is another, and says how long that took: the API server remembers for ten seconds whose a
// token is. It does not remember a refusal.
func (b bed) until(want int, token string) time.Duration {
	b.t.Helper()
	start := time.Now()
	for {
		status, body := b.list(token)
		switch took := time.Since(start); {
		case status == want:
			return took
		case took > 20*time.Second:
			b.t.Fatalf("still %d: %s", status, body)
		}
		time.Sleep(100 * time.Millisecond)
	}
}

func (b bed) control(method, path string, form url.Values) {
	b.t.Helper()
	request, err := http.NewRequest(method, b.env["RUNJOB_EKS_CONTROL"]+path+"?"+form.Encode(), nil)
	if err != nil {
		b.t.Fatal(err)
	}
	if status, body := b.send(client, request); status != http.StatusNoContent {
		b.t.Fatalf("%s %s: %d %s", method, path, status, body)
	}
}

func TestARoleThatIsMappedAndBoundMayListJobs(t *testing.T) {
	b := theBed(t)
	if body := b.expect(http.StatusOK, token(b.url(b.holder("ALLOWED"), 0))); !strings.Contains(body, `"JobList"`) {
		t.Errorf("that is no list: %s", body)
	}
}

func TestARoleThatIsMappedButNotBoundIsForbidden(t *testing.T) {
	b := theBed(t)
	body := b.expect(http.StatusForbidden, token(b.url(b.holder("FORBIDDEN"), 0)))
	if !strings.Contains(body, `User \"eks-without-rights\" cannot list resource \"jobs\"`) {
		t.Errorf("forbidden to somebody else: %s", body)
	}
}

func TestARoleThatIsNotMappedIsNobody(t *testing.T) {
	b := theBed(t)
	b.expect(http.StatusUnauthorized, token(b.url(b.holder("UNMAPPED"), 0)))
}

func TestATokenThatWasTamperedWithIsRefused(t *testing.T) {
	b := theBed(t)
	good := func() string { return b.url(b.holder("ALLOWED"), 0) }
	last := func(address string) string {
		if strings.HasSuffix(address, "0") {
			return address[:len(address)-1] + "1"
		}
		return address[:len(address)-1] + "0"
	}
	keys := strings.NewReplacer(b.holder("UNMAPPED").accessKeyID, b.holder("ALLOWED").accessKeyID)
	for what, address := range map[string]string{
		"signature":     last(good()),
		"access key":    keys.Replace(b.url(b.holder("UNMAPPED"), 0)),
		"session token": strings.Replace(good(), "X-Amz-Security-Token=", "X-Amz-Security-Token=x", 1),
		"region":        strings.Replace(good(), "//sts."+b.env["AWS_REGION"], "//sts.eu-west-1", 1),
		"host":          strings.Replace(good(), "amazonaws.com", "amazonaws.com.invalid", 1),
		"action":        strings.Replace(good(), "GetCallerIdentity", "GetSessionToken", 1),
	} {
		if status, body := b.list(token(address)); status != http.StatusUnauthorized {
			t.Errorf("with another %s: %d: %s", what, status, body)
		}
	}
}

func TestATokenForAnotherClusterIsRefused(t *testing.T) {
	b := theBed(t)
	other := presign(b.holder("ALLOWED"), b.env["AWS_REGION"], "other", time.Now())
	b.expect(http.StatusUnauthorized, token(other))
}

func TestATokenIsGoodForFifteenMinutes(t *testing.T) {
	b := theBed(t)
	b.expect(http.StatusOK, token(b.url(b.holder("ALLOWED"), 14*time.Minute)))
	b.expect(http.StatusUnauthorized, token(b.url(b.holder("ALLOWED"), 16*time.Minute)))
}

func TestAnOutageOfStsLooksLikeUnauthorizedAndPasses(t *testing.T) {
	b := theBed(t)
	known := token(b.url(b.holder("ALLOWED"), 0))
	b.expect(http.StatusOK, known)
	b.control(http.MethodPost, "/sts", url.Values{"away": {"60s"}})
	defer b.control(http.MethodPost, "/sts", url.Values{"away": {"0s"}})
	b.expect(http.StatusUnauthorized, token(b.url(b.holder("ALLOWED"), 0)))
	t.Logf("a token that was good is refused after %v", b.until(http.StatusUnauthorized, known))
	b.control(http.MethodPost, "/sts", url.Values{"away": {"0s"}})
	b.expect(http.StatusOK, token(b.url(b.holder("ALLOWED"), 0)))
	t.Logf("and is good again after %v", b.until(http.StatusOK, known))
}

func TestAnAccessKeyOfOnesOwnChoiceGetsARole(t *testing.T) {
	b := theBed(t)
	own := credential{accessKeyID: "000000000042", secretAccessKey: "sandbox"}
	b.control(http.MethodPost, "/credentials", url.Values{"access_key_id": {own.accessKeyID}, "secret_access_key": {own.secretAccessKey},
		"role": {"allowed"}})
	b.expect(http.StatusOK, token(b.url(own, 0)))
}

// describe asks EKS for a cluster.
func (b bed) describe(holder credential, name, service string) (int, string) {
	b.t.Helper()
	request := get(b.t, b.env["AWS_ENDPOINT_URL_EKS"]+"/clusters/"+name)
	if err := sign(request, holder, b.env["AWS_REGION"], service, time.Now()); err != nil {
		b.t.Fatal(err)
	}
	return b.send(client, request)
}

func (b bed) status(name string) string {
	b.t.Helper()
	code, body := b.describe(b.holder("ALLOWED"), name, "eks")
	var answer struct {
		Cluster struct {
			Status, Endpoint     string
			CertificateAuthority struct{ Data string }
		}
	}
	if err := json.Unmarshal([]byte(body), &answer); code != http.StatusOK || err != nil {
		b.t.Fatalf("%d: %s", code, body)
	}
	if found := answer.Cluster; (found.Endpoint == "") != (found.CertificateAuthority.Data == "") {
		b.t.Errorf("half of it is known: %s", body)
	} else if found.Endpoint != "" {
		// What it says leads to the real API server.
		request := get(b.t, found.Endpoint+jobs)
		request.Header.Set("Authorization", "Bearer "+token(b.url(b.holder("ALLOWED"), 0)))
		if code, body := b.send(clientFor(b.t, found.CertificateAuthority.Data), request); code != http.StatusOK {
			b.t.Errorf("%d: %s", code, body)
		}
		return answer.Cluster.Status + ", known"
	}
	return answer.Cluster.Status
}

func TestAClusterThatIsDescribedIsTheRealOne(t *testing.T) {
	b := theBed(t)
	if got := b.status(b.env["RUNJOB_EKS_CLUSTER"]); got != "ACTIVE, known" {
		t.Error(got)
	}
}

func TestAClusterIsBeingCreatedAsOftenAsAskedFor(t *testing.T) {
	b := theBed(t)
	b.control(http.MethodPost, "/clusters/slow", url.Values{"creating": {"2"}})
	for _, want := range []string{"CREATING", "CREATING", "ACTIVE, known"} {
		if got := b.status("slow"); got != want {
			t.Errorf("%s, not %s", got, want)
		}
	}
	b.control(http.MethodPost, "/clusters/slow", url.Values{"status": {"FAILED"}})
	if got := b.status("slow"); got != "FAILED" {
		t.Error(got)
	}
	b.control(http.MethodDelete, "/clusters/slow", nil)
	if code, body := b.describe(b.holder("ALLOWED"), "slow", "eks"); code != http.StatusNotFound {
		t.Errorf("%d: %s", code, body)
	}
}

func TestEksRefusesInTheWordsOfAws(t *testing.T) {
	b := theBed(t)
	name := b.env["RUNJOB_EKS_CLUSTER"]
	wrong := b.holder("ALLOWED")
	wrong.secretAccessKey += "x"
	for _, each := range []struct {
		holder        credential
		name, service string
		code          int
		message       string
	}{
		{b.holder("BLIND"), name, "eks", 403, "is not authorized to perform: eks:DescribeCluster"},
		{b.holder("ALLOWED"), "nowhere", "eks", 404, "No cluster found for name: nowhere."},
		{b.holder("ALLOWED"), name, "sts", 403, "the credential is scoped to"},
		{wrong, name, "eks", 403, "does not match the signature"},
		{credential{accessKeyID: "ASIANOBODY", secretAccessKey: "x"}, name, "eks", 403, "The security token included"},
	} {
		if code, body := b.describe(each.holder, each.name, each.service); code != each.code || !strings.Contains(body, each.message) {
			t.Errorf("expected %d %s, got %d: %s", each.code, each.message, code, body)
		}
	}
}
