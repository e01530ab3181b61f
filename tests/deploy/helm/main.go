// Lints and renders a chart with Helm's own packages: half of what building the whole of helm takes.
//
//	helm CHART <values.yaml
//
// prints {"lint": [...], "files": {name: text}, "error": "..."}.
package main

import (
	"encoding/json"
	"io"
	"os"

	"helm.sh/helm/v3/pkg/chart/loader"
	"helm.sh/helm/v3/pkg/chartutil"
	"helm.sh/helm/v3/pkg/engine"
	"helm.sh/helm/v3/pkg/lint"
)

type answer struct {
	Lint  []string          `json:"lint"`
	Files map[string]string `json:"files"`
	Error string            `json:"error"`
}

func render(path string, values chartutil.Values) (map[string]string, error) {
	found, err := loader.LoadDir(path)
	if err != nil {
		return nil, err
	}
	if err := found.Validate(); err != nil {
		return nil, err
	}
	release := chartutil.ReleaseOptions{Name: "shop", Namespace: "events", Revision: 1, IsInstall: true}
	// Checks the values against values.schema.json, as an installation does.
	all, err := chartutil.ToRenderValues(found, values, release, nil)
	if err != nil {
		return nil, err
	}
	return engine.Engine{Strict: true, LintMode: false}.Render(found, all)
}

func main() {
	given, err := io.ReadAll(os.Stdin)
	if err != nil {
		panic(err)
	}
	values, err := chartutil.ReadValues(given)
	if err != nil {
		panic(err)
	}
	out := answer{Lint: []string{}}
	for _, message := range lint.All(os.Args[1], values, "events", true).Messages {
		out.Lint = append(out.Lint, message.Error())
	}
	if out.Files, err = render(os.Args[1], values); err != nil {
		out.Error = err.Error()
	}
	if err := json.NewEncoder(os.Stdout).Encode(out); err != nil {
		panic(err)
	}
}
