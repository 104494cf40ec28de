{{/*
What values.schema.json cannot say well: values that contradict each other, or that are missing. Each would give a worker that does not
start, or one that may more, or less, than somebody believes.
*/}}
{{- define "runjob.refuse" -}}
{{- $values := .Values -}}

{{- if not $values.image.repository -}}
{{- fail "image.repository is required: where the image is, in a registry of yours" -}}
{{- end -}}

{{- $fromElsewhere := not (empty $values.envFrom) -}}
{{- range $values.extraEnv -}}
  {{- if eq .name "RUNJOB_ACTIVITY_ARN" -}}{{- $fromElsewhere = true -}}{{- end -}}
{{- end -}}
{{- if and (not $values.activityArns) (not $fromElsewhere) -}}
{{- fail "activityArns is required: the ARNs of the activities to poll" -}}
{{- end -}}
{{- if and $values.lease.create (not (include "runjob.group" .)) -}}
{{- fail "the Lease is named by the group, and without activityArns there is none to be derived: set group, or lease.create to false" -}}
{{- end -}}
{{- if not $values.group -}}
  {{- $origin := include "runjob.group" . -}}
  {{- range $values.activityArns -}}
    {{- $parts := splitList ":" . -}}
    {{- if ne $origin (printf "%s.%s" (index $parts 4) (index $parts 3)) -}}
    {{- fail "the activities are of several accounts or regions: name the group with group" -}}
    {{- end -}}
  {{- end -}}
{{- end -}}

{{- if $values.clusters -}}
  {{- range $field := list "namespaces" "allowServiceAccounts" "clusterName" -}}
    {{- if index $values $field -}}
    {{- fail (printf "%s is for one cluster, and cannot stand beside clusters: each of those has its own" $field) -}}
    {{- end -}}
  {{- end -}}
  {{- range $name, $cluster := $values.clusters -}}
    {{- if and $cluster.inCluster (not $cluster.namespaces) (not $values.clusterWide) -}}
    {{- fail (printf "clusters.%s has no namespaces, which means every one: list them, or set clusterWide to true" $name) -}}
    {{- end -}}
    {{- if and $cluster.kubeconfig (not (hasPrefix "/" $cluster.kubeconfig)) (not $values.clusterFiles.secretName) -}}
    {{- fail (printf "clusters.%s has a kubeconfig, and clusterFiles.secretName does not say where it comes from" $name) -}}
    {{- end -}}
  {{- end -}}
{{- else if $values.clusterFiles.secretName -}}
{{- fail "clusterFiles.secretName has the kubeconfigs of clusters, and there are no clusters" -}}
{{- else if and $values.clusterWide $values.namespaces -}}
{{- fail "clusterWide and namespaces contradict each other: set one of them" -}}
{{- else if not (or $values.clusterWide $values.namespaces) -}}
{{- fail "namespaces is required: where Jobs run, apart from the worker if possible, since a Job can mount every Secret of its namespace" -}}
{{- end -}}

{{- if include "runjob.jobsBesideWorker" . -}}
  {{- $secrets := list -}}
  {{- if $values.clusterFiles.secretName -}}{{- $secrets = append $secrets "clusterFiles" -}}{{- end -}}
  {{- range $values.extraVolumes -}}
    {{- if or .secret (and .projected (contains "\"secret\"" (toJson .projected))) -}}{{- $secrets = append $secrets "extraVolumes" -}}{{- end -}}
  {{- end -}}
  {{- range $values.envFrom -}}
    {{- if .secretRef -}}{{- $secrets = append $secrets "envFrom" -}}{{- end -}}
  {{- end -}}
  {{- range $values.extraEnv -}}
    {{- if and .valueFrom .valueFrom.secretKeyRef -}}{{- $secrets = append $secrets "extraEnv" -}}{{- end -}}
  {{- end -}}
  {{- with $secrets | uniq -}}
  {{- fail (printf "%s gives the worker Secrets, and Jobs may run in its namespace, where they can mount them: list other namespaces" (join ", " .)) -}}
  {{- end -}}
{{- end -}}

{{- if and (not $values.serviceAccount.create) (not $values.serviceAccount.name) -}}
{{- fail "serviceAccount.create is false, and serviceAccount.name does not say which one there is" -}}
{{- end -}}
{{- if and (eq (include "runjob.serviceAccountName" .) "default") (not $values.allowServiceAccounts) -}}
{{- fail "the worker runs as the service account default, as which Jobs run that name no other: give it one of its own, or list allowServiceAccounts" -}}
{{- end -}}
{{- if and (not $values.serviceAccount.create) (or $values.aws.roleArn $values.serviceAccount.annotations) -}}
{{- fail "aws.roleArn and serviceAccount.annotations are for a ServiceAccount that the chart makes: serviceAccount.create is false" -}}
{{- end -}}

{{- $own := (include "runjob.environment" . | fromYamlArray) -}}
{{- range $extra := $values.extraEnv -}}
  {{- range $own -}}
    {{- if eq .name $extra.name -}}
    {{- fail (printf "extraEnv has %s, which a value of its own sets" $extra.name) -}}
    {{- end -}}
  {{- end -}}
  {{- if has $extra.name (list "RUNJOB_NAMESPACE" "RUNJOB_GROUP" "RUNJOB_CLUSTERS" "RUNJOB_LEASE_NAMESPACE" "RUNJOB_KUBECONFIG" "RUNJOB_CONTEXT" "RUNJOB_ADMIN_ADDR") -}}
  {{- fail (printf "extraEnv has %s: Roles, Lease, probes or volumes of this chart would not fit it; see namespaces, group, clusters" $extra.name) -}}
  {{- end -}}
{{- end -}}
{{- end -}}
