package main

import (
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
)

// control is what a test may ask for. It lies beside EKS, under a path that EKS does not have.
type control struct {
	keys *keyring
	sts  *sts
	eks  *eks
}

func (c control) register(mux *http.ServeMux) {
	mux.HandleFunc("GET /control", c.show)
	mux.HandleFunc("POST /control/sts", c.outage)
	mux.HandleFunc("POST /control/credentials", c.credential)
	mux.HandleFunc("POST /control/clusters/{name}", c.cluster)
	mux.HandleFunc("DELETE /control/clusters/{name}", c.forget)
}

// show says what has been asked so far.
func (c control) show(response http.ResponseWriter, _ *http.Request) {
	c.eks.mutex.Lock()
	described := map[string]int{}
	for name, known := range c.eks.clusters {
		described[name] = known.described
	}
	c.eks.mutex.Unlock()
	away := c.sts.isAway()
	c.sts.mutex.Lock()
	answered, refused := c.sts.answered, c.sts.refused
	c.sts.mutex.Unlock()
	respond(response, http.StatusOK, map[string]any{
		"sts":       map[string]any{"answered": answered, "refused": refused, "away": away},
		"described": described,
	})
}

// outage: `away=60s` from now on; `away=0s` ends it.
func (c control) outage(response http.ResponseWriter, request *http.Request) {
	away, err := time.ParseDuration(request.FormValue("away"))
	if err != nil {
		http.Error(response, "away is not a duration such as 60s", http.StatusBadRequest)
		return
	}
	c.sts.goAway(time.Now().Add(away))
	response.WriteHeader(http.StatusNoContent)
}

// credential: `access_key_id`, `secret_access_key`, `session_token` if there is one, and `role`, one of the names in the env file. For
// who needs an access key of his own choice.
func (c control) credential(response http.ResponseWriter, request *http.Request) {
	at := slices.IndexFunc(roles, func(r role) bool { return r.name == request.FormValue("role") })
	made := credential{accessKeyID: request.FormValue("access_key_id"), secretAccessKey: request.FormValue("secret_access_key"),
		sessionToken: request.FormValue("session_token"), issuer: issuedHere}
	if at < 0 || made.accessKeyID == "" || made.secretAccessKey == "" {
		http.Error(response, "this takes access_key_id, secret_access_key and a role that is known", http.StatusBadRequest)
		return
	}
	made.role = roles[at]
	c.keys.add(made)
	response.WriteHeader(http.StatusNoContent)
}

var statuses = []string{"ACTIVE", "CREATING", "DELETING", "FAILED", "PENDING", "UPDATING"}

// cluster: there is one of that name from now on; `status` (ACTIVE if not said) is shown after `creating` descriptions that say CREATING.
func (c control) cluster(response http.ResponseWriter, request *http.Request) {
	made := &cluster{status: "ACTIVE"}
	if status := request.FormValue("status"); status != "" {
		made.status = status
	}
	var err error
	if creating := request.FormValue("creating"); creating != "" {
		made.creating, err = strconv.Atoi(creating)
	}
	if err != nil || !slices.Contains(statuses, made.status) {
		http.Error(response, "status is one of "+strings.Join(statuses, ", ")+"; creating is a number", http.StatusBadRequest)
		return
	}
	c.eks.mutex.Lock()
	defer c.eks.mutex.Unlock()
	c.eks.clusters[request.PathValue("name")] = made
	response.WriteHeader(http.StatusNoContent)
}

func (c control) forget(response http.ResponseWriter, request *http.Request) {
	c.eks.mutex.Lock()
	defer c.eks.mutex.Unlock()
	delete(c.eks.clusters, request.PathValue("name"))
	response.WriteHeader(http.StatusNoContent)
}
