package main

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

// asked sends AssumeRole for a role's ARN, signed by that credential.
func asked(t *testing.T, keys *keyring, holder credential, arn string) *httptest.ResponseRecorder {
	t.Helper()
	form := "Action=AssumeRole&Version=2011-06-15&RoleSessionName=a-session&RoleArn=" + escape(arn)
	request := httptest.NewRequest(http.MethodPost, "http://127.0.0.1/", strings.NewReader(form))
	if err := sign(request, holder, "us-east-1", "sts", time.Now()); err != nil {
		t.Fatal(err)
	}
	response := httptest.NewRecorder()
	assuming{keys, "us-east-1"}.ServeHTTP(response, request)
	return response
}

func TestARoleThatIsAssumedHasACredentialOfItsOwn(t *testing.T) {
	keys := &keyring{known: map[string]credential{}}
	server := httptest.NewServer(assuming{keys, "us-east-1"})
	defer server.Close()
	// The caller of `assume` is one that LocalStack knows.
	keys.add(credential{accessKeyID: account, secretAccessKey: "test", role: roles[2]})
	made, err := assume(server.URL, "us-east-1", roles[0])
	if err != nil {
		t.Fatal(err)
	}
	known, ok := keys.find(made.accessKeyID)
	if !ok || known.role != roles[0] || known.secretAccessKey != made.secretAccessKey || known.sessionToken != made.sessionToken {
		t.Fatalf("what was given out is not what is known: %+v, %+v", made, known)
	}
}

func TestARoleIsAssumedByWhoHasACredentialOnly(t *testing.T) {
	keys, holder := &keyring{known: map[string]credential{}}, issue(roles[2])
	if response := asked(t, keys, holder, roles[0].arn()); !strings.Contains(response.Body.String(), "InvalidClientTokenId") {
		t.Fatal(response.Body)
	}
	keys.add(holder)
	if response := asked(t, keys, holder, roles[0].arn()); response.Code != http.StatusOK {
		t.Fatal(response.Body)
	}
	holder.secretAccessKey = "another"
	if response := asked(t, keys, holder, roles[0].arn()); !strings.Contains(response.Body.String(), "SignatureDoesNotMatch") {
		t.Fatal(response.Body)
	}
}

func TestARoleThatThereIsNotIsNotAssumed(t *testing.T) {
	keys, holder := &keyring{known: map[string]credential{}}, issue(roles[2])
	keys.add(holder)
	response := asked(t, keys, holder, "arn:aws:iam::111122223333:role/nobody")
	if response.Code != http.StatusForbidden || !strings.Contains(response.Body.String(), "<Code>AccessDenied</Code>") {
		t.Fatal(response.Body)
	}
}
