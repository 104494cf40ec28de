package main

import (
	"errors"
	"fmt"
	"log"
	"net/http"
	"sync"
	"time"
)

// eks is DescribeCluster, for clusters that all are the same real one.
type eks struct {
	keys      *keyring
	region    string
	endpoint  string // of the real API server
	authority string // base64 of PEM

	mutex    sync.Mutex
	clusters map[string]*cluster
}

// cluster is what a test has made of a name.
type cluster struct {
	status    string
	creating  int // how many more descriptions say CREATING
	described int
}

// describe answers as EKS does: what a cluster that is being created does not have yet is not there.
func (e *eks) describe(response http.ResponseWriter, request *http.Request) {
	name := request.PathValue("name")
	if err := e.authorize(request, name); err != nil {
		log.Printf("EKS refused: %v", err)
		e.refuse(response, http.StatusForbidden, err)
		return
	}
	status, known := e.look(name)
	if !known {
		e.refuse(response, http.StatusNotFound, refusal{"ResourceNotFoundException", "No cluster found for name: " + name + "."})
		return
	}
	described := map[string]any{
		"name":                 name,
		"arn":                  e.arn(name),
		"createdAt":            float64(time.Now().Add(-time.Hour).Unix()),
		"version":              "1.34",
		"platformVersion":      "eks.1",
		"roleArn":              "arn:aws:iam::" + account + ":role/EKS_Cluster",
		"status":               status,
		"certificateAuthority": map[string]string{},
		"tags":                 map[string]string{},
	}
	if status != "CREATING" && status != "FAILED" {
		described["endpoint"] = e.endpoint
		described["certificateAuthority"] = map[string]string{"data": e.authority}
	}
	respond(response, http.StatusOK, map[string]any{"cluster": described})
}

func (e *eks) arn(name string) string {
	return fmt.Sprintf("arn:aws:eks:%s:%s:cluster/%s", e.region, account, name)
}

// authorize lets pass what is signed by a role that may describe clusters.
func (e *eks) authorize(request *http.Request, name string) error {
	signed, err := readSignature(request)
	if err != nil {
		return err
	}
	holder, known := e.keys.find(signed.accessKeyID)
	if !known {
		return refusal{"UnrecognizedClientException", "The security token included in the request is invalid."}
	}
	if err := signed.check(request, holder, e.region, "eks", time.Now()); err != nil {
		return err
	}
	if holder.role.may == mayNotDescribe {
		return refusal{"AccessDeniedException", fmt.Sprintf(
			"User: %s is not authorized to perform: eks:DescribeCluster on resource: %s", holder.role.arn(), e.arn(name))}
	}
	return nil
}

// look counts a description, and says what status it shows.
func (e *eks) look(name string) (string, bool) {
	e.mutex.Lock()
	defer e.mutex.Unlock()
	found, known := e.clusters[name]
	if !known {
		return "", false
	}
	found.described++
	if found.creating > 0 {
		found.creating--
		return "CREATING", true
	}
	return found.status, true
}

func (e *eks) refuse(response http.ResponseWriter, status int, err error) {
	var known refusal
	if !errors.As(err, &known) {
		known, status = refusal{"ServerException", err.Error()}, http.StatusInternalServerError
	}
	response.Header().Set("X-Amzn-ErrorType", known.code)
	respond(response, status, map[string]string{"message": known.message})
}
