package main

import (
	"crypto/rand"
	"encoding/hex"
	"path"
	"sync"
)

const (
	account = "111122223333"
	session = "runjob-under-test"
)

// role is a role of IAM that a worker may have. What it may do in the cluster is not said here, but by aws-auth and RBAC: see ../access.
type role struct {
	name string // in the env file
	path string // with the path that aws-auth must not name
	may  describing
}

// describing says whether a role has eks:DescribeCluster.
type describing int

const (
	mayDescribe describing = iota
	mayNotDescribe
)

var roles = []role{
	{"allowed", "service-role/EKS_StepFunctions_Integration", mayDescribe},
	{"forbidden", "EKS_WithoutRights", mayDescribe},
	{"unmapped", "EKS_Unmapped", mayDescribe},
	{"blind", "EKS_WithoutDescribeCluster", mayNotDescribe},
}

func (r role) arn() string { return "arn:aws:iam::" + account + ":role/" + r.path }

// assumedArn is whom STS takes its holders for: without the path.
func (r role) assumedArn(session string) string {
	return "arn:aws:sts::" + account + ":assumed-role/" + path.Base(r.path) + "/" + session
}

// issuer is who gave a credential out, and so knows whose it is.
type issuer int

const (
	issuedHere issuer = iota
	issuedUpstream
)

type credential struct {
	accessKeyID, secretAccessKey, sessionToken string
	role                                       role
	issuer                                     issuer
}

// issue makes a credential as AssumeRole does: an access key of a role comes with a session token.
func issue(r role) credential {
	return credential{"ASIA" + rand.Text()[:16], random(20), random(64), r, issuedHere}
}

func random(bytes int) string {
	text := make([]byte, bytes)
	rand.Read(text) // never fails
	return hex.EncodeToString(text)
}

// keyring knows the credentials by their access keys.
type keyring struct {
	mutex sync.Mutex
	known map[string]credential
}

func (k *keyring) add(c credential) {
	k.mutex.Lock()
	defer k.mutex.Unlock()
	k.known[c.accessKeyID] = c
}

func (k *keyring) find(accessKeyID string) (credential, bool) {
	k.mutex.Lock()
	defer k.mutex.Unlock()
	c, ok := k.known[accessKeyID]
	return c, ok
}
