package main

import (
	"encoding/json"
	"errors"
	"log"
	"net/http"
)

// refusal is an error in the words of AWS: the code is what clients go by.
type refusal struct{ code, message string }

func (r refusal) Error() string { return r.code + ": " + r.message }

// refused is what STS says of an error, and the status that goes with it.
func refused(err error) (refusal, int) {
	var known refusal
	if !errors.As(err, &known) {
		return refusal{"InternalFailure", err.Error()}, http.StatusInternalServerError
	}
	return known, http.StatusForbidden
}

func respond(response http.ResponseWriter, status int, answer any) {
	response.Header().Set("Content-Type", "application/json")
	response.WriteHeader(status)
	if err := json.NewEncoder(response).Encode(answer); err != nil {
		log.Printf("unable to answer: %v", err)
	}
}
