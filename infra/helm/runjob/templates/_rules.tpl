{{/* What the worker does in a namespace of Jobs: docs/usage.md has the reasons, infra/check-manifests compares. */}}
{{- define "runjob.jobRules" -}}
- apiGroups: [batch]
  resources: [jobs]
  verbs: [create, get, list, watch, patch, delete]
- apiGroups: [""]
  resources: [pods]
  verbs: [list]
- apiGroups: [""]
  resources: [pods/log]
  verbs: [get]
- apiGroups: [""]
  resources: [events]
  verbs: [create, list, patch]
{{- with .Values.call.rules }}
{{ toYaml . }}
{{- end }}
{{- end -}}
