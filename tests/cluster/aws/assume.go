package main

import (
	"crypto/rand"
	"encoding/xml"
	"log"
	"net/http"
	"net/url"
	"slices"
	"time"
)

// assuming is STS's AssumeRole, reached by its endpoint and not through the proxy: whoever has a credential of the account may assume any
// of its roles.
type assuming struct {
	keys   *keyring
	region string
}

type assumeRoleResponse struct {
	XMLName         xml.Name  `xml:"https://sts.amazonaws.com/doc/2011-06-15/ AssumeRoleResponse"`
	AccessKeyID     string    `xml:"AssumeRoleResult>Credentials>AccessKeyId"`
	SecretAccessKey string    `xml:"AssumeRoleResult>Credentials>SecretAccessKey"`
	SessionToken    string    `xml:"AssumeRoleResult>Credentials>SessionToken"`
	Expiration      time.Time `xml:"AssumeRoleResult>Credentials>Expiration"`
	Arn             string    `xml:"AssumeRoleResult>AssumedRoleUser>Arn"`
	AssumedRoleID   string    `xml:"AssumeRoleResult>AssumedRoleUser>AssumedRoleId"`
	RequestID       string    `xml:"ResponseMetadata>RequestId"`
}

type errorResponse struct {
	XMLName   xml.Name `xml:"https://sts.amazonaws.com/doc/2011-06-15/ ErrorResponse"`
	Type      string   `xml:"Error>Type"`
	Code      string   `xml:"Error>Code"`
	Message   string   `xml:"Error>Message"`
	RequestID string   `xml:"RequestId"`
}

func (a assuming) ServeHTTP(response http.ResponseWriter, request *http.Request) {
	assumed, name, err := a.assume(request)
	if err != nil {
		log.Printf("AssumeRole refused: %v", err)
		known, status := refused(err)
		respondXML(response, status, errorResponse{
			Type: "Sender", Code: known.code, Message: known.message, RequestID: rand.Text(),
		})
		return
	}
	respondXML(response, http.StatusOK, assumeRoleResponse{
		AccessKeyID: assumed.accessKeyID, SecretAccessKey: assumed.secretAccessKey, SessionToken: assumed.sessionToken,
		Expiration:    time.Now().Add(time.Hour).UTC().Truncate(time.Second),
		Arn:           assumed.role.assumedArn(name),
		AssumedRoleID: "AROARUNJOB:" + name, RequestID: rand.Text(),
	})
}

// assume gives out a credential of the role that is asked for, and says what the session is called.
func (a assuming) assume(request *http.Request) (credential, string, error) {
	signed, err := readSignature(request)
	if err != nil {
		return credential{}, "", err
	}
	holder, known := a.keys.find(signed.accessKeyID)
	if !known {
		return credential{}, "", refusal{"InvalidClientTokenId", "the security token included in the request is invalid"}
	}
	if err := signed.check(request, holder, a.region, "sts", time.Now()); err != nil {
		return credential{}, "", err
	}
	body, err := payload(request)
	if err != nil {
		return credential{}, "", err
	}
	form, err := url.ParseQuery(body)
	if err != nil || form.Get("Action") != "AssumeRole" || form.Get("Version") != "2011-06-15" {
		return credential{}, "", refusal{"InvalidAction", "this STS knows AssumeRole of 2011-06-15 only"}
	}
	at := slices.IndexFunc(roles, func(r role) bool { return r.arn() == form.Get("RoleArn") })
	if at < 0 || form.Get("RoleSessionName") == "" {
		return credential{}, "", refusal{"AccessDenied", "User: " + holder.role.arn() + " is not authorized to perform: sts:AssumeRole on resource: " +
			form.Get("RoleArn")}
	}
	made := issue(roles[at])
	a.keys.add(made)
	return made, form.Get("RoleSessionName"), nil
}

func respondXML(response http.ResponseWriter, status int, answer any) {
	response.Header().Set("Content-Type", "text/xml")
	response.WriteHeader(status)
	if err := xml.NewEncoder(response).Encode(answer); err != nil {
		log.Printf("unable to answer: %v", err)
	}
}
