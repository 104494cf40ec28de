package main

import (
	"encoding/xml"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// To loopback, whatever proxies the environment names. LocalStack's first answer takes a while.
var client = &http.Client{Transport: &http.Transport{Proxy: nil}, Timeout: time.Minute}

// assume asks an STS for a credential of a role.
func assume(endpoint, region string, r role) (credential, error) {
	form := url.Values{
		"Action": {"AssumeRole"}, "Version": {"2011-06-15"}, "RoleArn": {r.arn()}, "RoleSessionName": {session},
	}.Encode()
	request, err := http.NewRequest(http.MethodPost, endpoint+"/", strings.NewReader(form))
	if err != nil {
		return credential{}, err
	}
	request.Header.Set("Content-Type", "application/x-www-form-urlencoded; charset=utf-8")
	// To LocalStack, twelve digits are an access key of that account.
	caller := credential{accessKeyID: account, secretAccessKey: "test"}
	if err := sign(request, caller, region, "sts", time.Now()); err != nil {
		return credential{}, err
	}
	response, err := client.Do(request)
	if err != nil {
		return credential{}, err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		return credential{}, err
	}
	if response.StatusCode != http.StatusOK {
		return credential{}, fmt.Errorf("the STS at %s answered %s: %s", endpoint, response.Status, body)
	}
	var answer struct {
		AccessKeyID     string `xml:"AssumeRoleResult>Credentials>AccessKeyId"`
		SecretAccessKey string `xml:"AssumeRoleResult>Credentials>SecretAccessKey"`
		SessionToken    string `xml:"AssumeRoleResult>Credentials>SessionToken"`
	}
	if err := xml.Unmarshal(body, &answer); err != nil {
		return credential{}, fmt.Errorf("unable to read an answer of the STS at %s: %w", endpoint, err)
	}
	return credential{answer.AccessKeyID, answer.SecretAccessKey, answer.SessionToken, r, issuedUpstream}, nil
}
