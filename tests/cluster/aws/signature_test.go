package main

import (
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

var (
	today  = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	holder = credential{accessKeyID: "ASIAEXAMPLE", secretAccessKey: "secret", sessionToken: "session"}
)

// The example of AWS's documentation ("Create a signed AWS API request").
func TestASignatureIsThatOfTheDocumentation(t *testing.T) {
	request := get(t, "https://iam.amazonaws.com/?Action=ListUsers&Version=2010-05-08")
	request.Header.Set("Content-Type", "application/x-www-form-urlencoded; charset=utf-8")
	holder := credential{accessKeyID: "AKIDEXAMPLE", secretAccessKey: "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"}
	if err := sign(request, holder, "us-east-1", "iam", time.Date(2015, 8, 30, 12, 36, 0, 0, time.UTC)); err != nil {
		t.Fatal(err)
	}
	want := "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/iam/aws4_request, SignedHeaders=content-type;host;x-amz-date, " +
		"Signature=5d672d79c15b13162d9279b0855cfba6789a8edb4c82c400e06b5924a6f2b5d7"
	if got := request.Header.Get("Authorization"); got != want {
		t.Errorf("got %s", got)
	}
}

func TestASignatureOfTheHeadersIsBelievedUntilSomethingIsChanged(t *testing.T) {
	changes := map[string]func(*http.Request){
		"":                                       func(*http.Request) {},
		"does not match the signature":           func(r *http.Request) { r.URL.Path = "/clusters/other" },
		"host is not among the signed headers":   func(r *http.Request) { change(r, "SignedHeaders=host;", "SignedHeaders=") },
		"x-amz-target is not among the signed":   func(r *http.Request) { r.Header.Set("X-Amz-Target", "something") },
		"the security token included":            func(r *http.Request) { r.Header.Set("X-Amz-Security-Token", "another") },
		"the request is not signed":              func(r *http.Request) { r.Header.Del("Authorization") },
		"the scope of the credential is not":     func(r *http.Request) { change(r, "/aws4_request", "") },
		"X-Amz-Date is not a date":               func(r *http.Request) { r.Header.Set("X-Amz-Date", "yesterday") },
		"scoped to [20260301 us-east-1 eks aws4": func(r *http.Request) { r.Header.Set("X-Amz-Date", "20260302T120000Z") },
	}
	for complaint, change := range changes {
		request := get(t, "http://127.0.0.1/clusters/mine")
		if err := sign(request, holder, "us-east-1", "eks", today); err != nil {
			t.Fatal(err)
		}
		change(request)
		expect(t, complaint, examine(request, "us-east-1", "eks", today))
	}
}

func TestASignatureIsForARegionAndAService(t *testing.T) {
	request := get(t, "http://127.0.0.1/clusters/mine")
	if err := sign(request, holder, "us-east-1", "eks", today); err != nil {
		t.Fatal(err)
	}
	expect(t, "scoped to", examine(request, "eu-west-1", "eks", today))
	expect(t, "scoped to", examine(request, "us-east-1", "sts", today))
}

func TestAPresignedUrlLivesFifteenMinutesWhateverItSaysOfItsEnd(t *testing.T) {
	for age, complaint := range map[time.Duration]string{
		-6 * time.Minute: "signature expired",
		-4 * time.Minute: "",
		14 * time.Minute: "",
		16 * time.Minute: "signature expired",
	} {
		request := get(t, presign(holder, "us-east-1", "mine", today.Add(-age)))
		request.Header.Set("X-K8s-Aws-Id", "mine")
		expect(t, complaint, examine(request, "us-east-1", "sts", today))
	}
}

func TestAPresignedUrlIsForOneCluster(t *testing.T) {
	request := get(t, presign(holder, "us-east-1", "mine", today))
	request.Header.Set("X-K8s-Aws-Id", "other")
	expect(t, "does not match the signature", examine(request, "us-east-1", "sts", today))
	request.Header.Del("X-K8s-Aws-Id")
	expect(t, "signed header x-k8s-aws-id is missing", examine(request, "us-east-1", "sts", today))
}

func examine(request *http.Request, region, service string, now time.Time) error {
	signed, err := readSignature(request)
	if err != nil {
		return err
	}
	return signed.check(request, holder, region, service, now)
}

func expect(t *testing.T, complaint string, err error) {
	t.Helper()
	var known refusal
	switch {
	case complaint == "" && err != nil:
		t.Errorf("refused: %v", err)
	case complaint != "" && (!errors.As(err, &known) || !strings.Contains(err.Error(), complaint)):
		t.Errorf("expected %q, got %v", complaint, err)
	}
}

func get(t *testing.T, address string) *http.Request {
	t.Helper()
	request, err := http.NewRequest(http.MethodGet, address, nil)
	if err != nil {
		t.Fatal(err)
	}
	return request
}

func change(request *http.Request, old, new string) {
	request.Header.Set("Authorization", strings.Replace(request.Header.Get("Authorization"), old, new, 1))
}

var urls atomic.Int64

// presign makes the URL that a token consists of. No two are the same: the API server knows a token again.
func presign(holder credential, region, cluster string, at time.Time) string {
	date := at.UTC().Format(timeFormat)
	own := signature{
		scope: []string{date[:8], region, "sts", "aws4_request"}, date: date, headers: []string{"host", "x-k8s-aws-id"},
	}
	own.query = url.Values{
		"Action": {"GetCallerIdentity"}, "Version": {"2011-06-15"}, "X-Amz-Algorithm": {algorithm}, "X-Amz-Date": {date},
		"X-Amz-Credential":     {holder.accessKeyID + "/" + strings.Join(own.scope, "/")},
		"X-Amz-Expires":        {fmt.Sprint(urls.Add(1) % 900)},
		"X-Amz-Security-Token": {holder.sessionToken},
		"X-Amz-SignedHeaders":  {strings.Join(own.headers, ";")},
	}
	request, _ := http.NewRequest(http.MethodGet, "https://sts."+region+".amazonaws.com/", nil)
	request.Header.Set("X-K8s-Aws-Id", cluster)
	own.value, _ = own.compute(request, holder.secretAccessKey)
	return request.URL.String() + "?" + own.query.Encode() + "&X-Amz-Signature=" + own.value
}

func token(address string) string {
	return "k8s-aws-v1." + base64.RawURLEncoding.EncodeToString([]byte(address))
}
