{{- define "shadowd.name" -}}
{{- if contains "shadowd" .Release.Name }}{{ .Release.Name }}{{ else }}{{ .Release.Name }}-shadowd{{ end }}
{{- end }}

{{- define "shadowd.labels" -}}
app.kubernetes.io/name: {{ include "shadowd.name" . }}
{{- end }}

{{- define "shadowd.image" -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end }}

{{- define "shadowd.pullSecrets" -}}
{{- with .Values.image.pullSecrets }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}
