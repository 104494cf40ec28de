package main

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"
)

const (
	algorithm  = "AWS4-HMAC-SHA256"
	timeFormat = "20060102T150405Z"
	// How old a signature may be, and how far in the future: STS lets a presigned URL live that long whatever its X-Amz-Expires says.
	lifetime = 15 * time.Minute
	ahead    = 5 * time.Minute
)

// signature is Signature Version 4 as a request carries it, in its query (a presigned URL) or in its headers.
type signature struct {
	accessKeyID  string
	scope        []string // date, region, service, "aws4_request"
	date         string
	headers      []string
	sessionToken string
	value        string
	query        url.Values // without the signature itself
}

var errUnsigned = refusal{"MissingAuthenticationToken", "the request is not signed"}

// readSignature finds out what a request says of itself. Nothing of it has been checked.
func readSignature(request *http.Request) (signature, error) {
	query, err := url.ParseQuery(request.URL.RawQuery)
	if err != nil {
		return signature{}, refusal{"MalformedQueryString", err.Error()}
	}
	fields := map[string]string{}
	found := signature{query: query}
	if query.Has("X-Amz-Algorithm") {
		for name := range query {
			if len(query[name]) != 1 {
				return signature{}, refusal{"MalformedQueryString", name + " is given twice"}
			}
		}
		fields["algorithm"] = query.Get("X-Amz-Algorithm")
		fields["Credential"] = query.Get("X-Amz-Credential")
		fields["SignedHeaders"] = query.Get("X-Amz-SignedHeaders")
		fields["Signature"] = query.Get("X-Amz-Signature")
		found.date = query.Get("X-Amz-Date")
		found.sessionToken = query.Get("X-Amz-Security-Token")
		query.Del("X-Amz-Signature")
	} else {
		var rest string
		fields["algorithm"], rest, _ = strings.Cut(request.Header.Get("Authorization"), " ")
		for part := range strings.SplitSeq(rest, ",") {
			name, value, _ := strings.Cut(strings.TrimSpace(part), "=")
			fields[name] = value
		}
		found.date = request.Header.Get("X-Amz-Date")
		found.sessionToken = request.Header.Get("X-Amz-Security-Token")
	}
	if fields["algorithm"] != algorithm {
		return signature{}, errUnsigned
	}
	key, scope, _ := strings.Cut(fields["Credential"], "/")
	found.accessKeyID = key
	found.scope = strings.Split(scope, "/")
	found.headers = strings.Split(fields["SignedHeaders"], ";")
	found.value = fields["Signature"]
	if len(found.scope) != 4 || found.scope[3] != "aws4_request" {
		return signature{}, refusal{"IncompleteSignature", "the scope of the credential is not DATE/REGION/SERVICE/aws4_request"}
	}
	return found, nil
}

// check says whether the holder of the secret has signed this request, for this region and service, lately.
func (s signature) check(request *http.Request, holder credential, region, service string, now time.Time) error {
	if s.sessionToken != holder.sessionToken {
		return refusal{"InvalidClientTokenId", "the security token included in the request is invalid"}
	}
	signed, err := time.Parse(timeFormat, s.date)
	if err != nil {
		return refusal{"IncompleteSignature", "X-Amz-Date is not a date"}
	}
	if want := []string{s.date[:8], region, service, "aws4_request"}; !slices.Equal(s.scope, want) {
		return refusal{"SignatureDoesNotMatch", fmt.Sprintf("the credential is scoped to %v, not to %v", s.scope, want)}
	}
	if age := now.Sub(signed); age > lifetime || age < -ahead {
		return refusal{"SignatureDoesNotMatch", "signature expired: " + s.date + " is not within 15 minutes of " + now.UTC().Format(timeFormat)}
	}
	if !slices.Contains(s.headers, "host") {
		return refusal{"SignatureDoesNotMatch", "host is not among the signed headers"}
	}
	for name := range request.Header {
		if name := strings.ToLower(name); strings.HasPrefix(name, "x-amz-") && !slices.Contains(s.headers, name) {
			return refusal{"SignatureDoesNotMatch", name + " is not among the signed headers"}
		}
	}
	want, err := s.compute(request, holder.secretAccessKey)
	if err != nil {
		return err
	}
	if !hmac.Equal([]byte(want), []byte(s.value)) {
		return refusal{"SignatureDoesNotMatch", "the request signature we calculated does not match the signature you provided"}
	}
	return nil
}

// compute is the signature as it should be.
func (s signature) compute(request *http.Request, secret string) (string, error) {
	canonical, err := s.canonical(request)
	if err != nil {
		return "", err
	}
	text := strings.Join([]string{algorithm, s.date, strings.Join(s.scope, "/"), hash(canonical)}, "\n")
	key := []byte("AWS4" + secret)
	for _, part := range s.scope {
		key = mac(key, part)
	}
	return hex.EncodeToString(mac(key, text)), nil
}

func (s signature) canonical(request *http.Request) (string, error) {
	var headers strings.Builder
	for _, name := range s.headers {
		values := request.Header.Values(name)
		if name == "host" {
			values = []string{request.Host}
		}
		if len(values) == 0 {
			return "", refusal{"SignatureDoesNotMatch", "the signed header " + name + " is missing"}
		}
		fmt.Fprintf(&headers, "%s:%s\n", name, strings.Join(strings.Fields(strings.Join(values, ",")), " "))
	}
	body, err := payload(request)
	if err != nil {
		return "", err
	}
	path := request.URL.EscapedPath()
	if path == "" {
		path = "/"
	}
	return strings.Join([]string{
		request.Method,
		// Every service but S3 escapes the path a second time.
		strings.ReplaceAll(escape(path), "%2F", "/"),
		canonicalQuery(s.query),
		headers.String(),
		strings.Join(s.headers, ";"),
		hash(body),
	}, "\n"), nil
}

// payload is the body, which can be read again afterwards.
func payload(request *http.Request) (string, error) {
	if request.Body == nil {
		return "", nil
	}
	body, err := io.ReadAll(request.Body)
	if err != nil {
		return "", errors.Join(errors.New("unable to read the body of a request"), err)
	}
	request.Body = io.NopCloser(strings.NewReader(string(body)))
	return string(body), nil
}

func canonicalQuery(query url.Values) string {
	pairs := []string{}
	for name, values := range query {
		for _, value := range values {
			pairs = append(pairs, escape(name)+"="+escape(value))
		}
	}
	slices.Sort(pairs)
	return strings.Join(pairs, "&")
}

// escape leaves alone what RFC 3986 calls unreserved, and nothing else.
func escape(text string) string { return strings.ReplaceAll(url.QueryEscape(text), "+", "%20") }

func hash(text string) string {
	sum := sha256.Sum256([]byte(text))
	return hex.EncodeToString(sum[:])
}

func mac(key []byte, text string) []byte {
	code := hmac.New(sha256.New, key)
	code.Write([]byte(text))
	return code.Sum(nil)
}

// sign signs a request in its headers.
func sign(request *http.Request, holder credential, region, service string, now time.Time) error {
	date := now.UTC().Format(timeFormat)
	request.Header.Set("X-Amz-Date", date)
	if holder.sessionToken != "" {
		request.Header.Set("X-Amz-Security-Token", holder.sessionToken)
	}
	headers := []string{"host"}
	for name := range request.Header {
		headers = append(headers, strings.ToLower(name))
	}
	slices.Sort(headers)
	own := signature{scope: []string{date[:8], region, service, "aws4_request"}, date: date, headers: headers, query: request.URL.Query()}
	value, err := own.compute(request, holder.secretAccessKey)
	if err != nil {
		return err
	}
	request.Header.Set("Authorization", fmt.Sprintf("%s Credential=%s/%s, SignedHeaders=%s, Signature=%s",
		algorithm, holder.accessKeyID, strings.Join(own.scope, "/"), strings.Join(headers, ";"), value))
	return nil
}
