// Renders a chart the way `helm template` does, for tests on machines without Helm. Built on the same libraries: Go's
// templates, sprig, sigs.k8s.io/yaml and gojsonschema.
//
//	render [-f FILE]... [--set PATH=VALUE]... [--lookup FILE] [--strict] [--notes | --json] CHART
//
// Unlike Helm, it has no subcharts and no .helmignore, and it writes hooks where they are. Random text is the same in
// every run, so that renderings can be compared. --strict makes reading a missing value an error. --lookup names a file
// of the objects that `lookup` finds; without it, none exist, as for `helm template`. --notes writes NOTES.txt and
// nothing else, --json the documents as an array. For the sets of values in this folder it gives what the engine of
// Helm 3.9.0 gives, apart from blank lines and random text.
//
// Build it with Debian's packages golang-go, golang-github-masterminds-sprig-dev, golang-k8s-sigs-yaml-dev and
// golang-github-xeipuuv-gojsonschema-dev: GO111MODULE=off GOPATH=/usr/share/gocode go build -o render render.go
package main

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"sort"
	"strconv"
	"strings"
	"text/template"

	"github.com/Masterminds/sprig"
	"github.com/xeipuuv/gojsonschema"
	"sigs.k8s.io/yaml"
)

type object = map[string]interface{}

// arguments of the command line.
type arguments struct {
	chart               string
	files, sets         []string
	lookup              string
	strict, notes, json bool
}

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "Error: "+err.Error())
		os.Exit(1)
	}
}

func run() error {
	args, err := parse(os.Args[1:])
	if err != nil {
		return err
	}
	meta := object{}
	if err := readYaml(filepath.Join(args.chart, "Chart.yaml"), &meta); err != nil {
		return err
	}
	values := object{}
	if err := readYaml(filepath.Join(args.chart, "values.yaml"), &values); err != nil {
		return err
	}
	for _, file := range args.files {
		layer := object{}
		if err := readYaml(file, &layer); err != nil {
			return err
		}
		merge(values, layer)
	}
	for _, set := range args.sets {
		if err := assign(values, set); err != nil {
			return err
		}
	}
	if err := validate(args.chart, fmt.Sprint(meta["name"]), values); err != nil {
		return err
	}
	var existing []object
	if args.lookup != "" {
		if err := readYaml(args.lookup, &existing); err != nil {
			return err
		}
	}
	return render(args, meta, values, existing)
}

func parse(words []string) (arguments, error) {
	var args arguments
	for len(words) > 0 {
		word := words[0]
		words = words[1:]
		switch word {
		case "--strict":
			args.strict = true
		case "--notes":
			args.notes = true
		case "--json":
			args.json = true
		case "-f", "--set", "--lookup":
			if len(words) == 0 {
				return args, fmt.Errorf("%s needs a value", word)
			}
			switch word {
			case "-f":
				args.files = append(args.files, words[0])
			case "--set":
				args.sets = append(args.sets, words[0])
			default:
				args.lookup = words[0]
			}
			words = words[1:]
		default:
			if strings.HasPrefix(word, "-") || args.chart != "" {
				return args, fmt.Errorf("%s is not an option", word)
			}
			args.chart = word
		}
	}
	if args.chart == "" {
		return args, errors.New("the folder of the chart is missing")
	}
	return args, nil
}

func readYaml(file string, into interface{}) error {
	text, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	if err := yaml.Unmarshal(text, into); err != nil {
		return fmt.Errorf("%s: %w", file, err)
	}
	return nil
}

// merge puts a layer of values over others: maps key by key, all else as a whole; null removes a default.
func merge(under, over object) {
	for key, value := range over {
		below, isMap := under[key].(object)
		above, alsoMap := value.(object)
		switch {
		case value == nil:
			delete(under, key)
		case isMap && alsoMap:
			merge(below, above)
		default:
			under[key] = value
		}
	}
}

var step = regexp.MustCompile(`^([^\[\]]*)((?:\[\d+\])*)$`)
var index = regexp.MustCompile(`\d+`)

// assign does --set a.b[0].c=value. A dot that is part of a key is written as \. there.
func assign(values object, set string) error {
	place, text, found := strings.Cut(set, "=")
	if !found {
		return fmt.Errorf("--set %s has no value", set)
	}
	var value interface{} = text
	switch number, err := strconv.ParseInt(text, 10, 64); {
	case err == nil:
		value = number
	case text == "true", text == "false":
		value = text == "true"
	case text == "null":
		value = nil
	case text == "{}":
		value = []interface{}{}
	}
	var keys []interface{}
	for _, part := range strings.Split(strings.ReplaceAll(place, `\.`, "\x00"), ".") {
		match := step.FindStringSubmatch(strings.ReplaceAll(part, "\x00", "."))
		if match == nil {
			return fmt.Errorf("--set %s is not a path", set)
		}
		keys = append(keys, match[1])
		for _, digits := range index.FindAllString(match[2], -1) {
			number, _ := strconv.Atoi(digits)
			keys = append(keys, number)
		}
	}
	put(values, keys, value)
	return nil
}

// put sets the value at a place below a node, and returns the node, which is made if it is missing.
func put(node interface{}, keys []interface{}, value interface{}) interface{} {
	if len(keys) == 0 {
		return value
	}
	switch key := keys[0].(type) {
	case int:
		list, _ := node.([]interface{})
		for len(list) <= key {
			list = append(list, nil)
		}
		list[key] = put(list[key], keys[1:], value)
		return list
	default:
		name := fmt.Sprint(key)
		fields, isMap := node.(object)
		if !isMap {
			fields = object{}
		}
		if len(keys) == 1 && value == nil {
			delete(fields, name)
		} else {
			fields[name] = put(fields[name], keys[1:], value)
		}
		return fields
	}
}

// validate holds the values against values.schema.json.
func validate(chart, name string, values object) error {
	text, err := os.ReadFile(filepath.Join(chart, "values.schema.json"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	result, err := gojsonschema.Validate(gojsonschema.NewBytesLoader(text), gojsonschema.NewGoLoader(values))
	if err != nil {
		return fmt.Errorf("values.schema.json: %w", err)
	}
	if result.Valid() {
		return nil
	}
	lines := []string{"values don't meet the specifications of the schema(s) in the following chart(s):", name + ":"}
	for _, fault := range result.Errors() {
		lines = append(lines, "- "+fault.String())
	}
	return errors.New(strings.Join(lines, "\n"))
}

func render(args arguments, meta, values object, existing []object) error {
	root := template.New("chart")
	if args.strict {
		root.Option("missingkey=error")
	} else {
		root.Option("missingkey=zero")
	}
	root.Funcs(functions(root, existing))
	var documents []json.RawMessage
	var all strings.Builder // Written at the end, because nothing is rendered if a later template fails.
	names, err := load(root, filepath.Join(args.chart, "templates"), fmt.Sprint(meta["name"]))
	if err != nil {
		return err
	}
	chart := object{}
	for key, value := range meta {
		chart[strings.ToUpper(key[:1])+key[1:]] = value
	}
	data := object{
		"Values": values,
		"Chart":  chart,
		"Release": object{
			"Name": "demo", "Namespace": "art", "Service": "Helm", "IsInstall": true, "IsUpgrade": false, "Revision": 1,
		},
		"Capabilities": object{
			"KubeVersion": object{"Version": "v1.33.0", "Major": "1", "Minor": "33", "GitVersion": "v1.33.0"},
		},
		"Files": files{args.chart},
	}
	for _, name := range names {
		isNotes := path.Base(name) == "NOTES.txt"
		if strings.HasPrefix(path.Base(name), "_") {
			continue
		}
		data["Template"] = object{"Name": name, "BasePath": path.Dir(name)}
		var out strings.Builder
		if err := root.ExecuteTemplate(&out, name, data); err != nil {
			return err
		}
		// A missing key is nothing in Helm, too.
		text := strings.ReplaceAll(out.String(), "<no value>", "")
		switch {
		case args.notes && isNotes:
			all.WriteString(text)
		case !args.notes && !isNotes:
			for _, document := range split(text) {
				if !args.json {
					fmt.Fprintf(&all, "---\n# Source: %s\n%s\n", name, document)
					continue
				}
				converted, err := yaml.YAMLToJSONStrict([]byte(document))
				if err != nil {
					return fmt.Errorf("%s: %w", name, err)
				}
				documents = append(documents, converted)
			}
		}
	}
	if args.json {
		return json.NewEncoder(os.Stdout).Encode(documents)
	}
	_, err = os.Stdout.WriteString(all.String())
	return err
}

var separator = regexp.MustCompile(`(?m)^---[ \t]*$`)

// split returns the documents of a rendered template, without empty ones.
func split(text string) []string {
	var documents []string
	for _, document := range separator.Split(text, -1) {
		if document = strings.Trim(document, "\n"); strings.TrimSpace(document) != "" {
			documents = append(documents, document)
		}
	}
	return documents
}

// load parses all templates, and returns their names in Helm's form, in order.
func load(root *template.Template, folder, chart string) ([]string, error) {
	var names []string
	err := filepath.WalkDir(folder, func(file string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		text, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		inner, err := filepath.Rel(folder, file)
		if err != nil {
			return err
		}
		name := path.Join(chart, "templates", filepath.ToSlash(inner))
		names = append(names, name)
		_, err = root.New(name).Parse(string(text))
		return err
	})
	sort.Strings(names)
	return names, err
}

func functions(root *template.Template, existing []object) template.FuncMap {
	all := sprig.TxtFuncMap()
	delete(all, "env")
	delete(all, "expandenv")
	all["include"] = func(name string, data interface{}) (string, error) {
		var out strings.Builder
		err := root.ExecuteTemplate(&out, name, data)
		return out.String(), err
	}
	all["tpl"] = func(text string, data interface{}) (string, error) {
		clone, err := root.Clone()
		if err != nil {
			return "", err
		}
		inner, err := clone.New("tpl").Parse(text)
		if err != nil {
			return "", err
		}
		var out strings.Builder
		err = inner.Execute(&out, data)
		return out.String(), err
	}
	all["required"] = func(message string, value interface{}) (interface{}, error) {
		if value == nil || value == "" {
			return nil, errors.New(message)
		}
		return value, nil
	}
	all["toYaml"] = func(value interface{}) (string, error) {
		text, err := yaml.Marshal(value)
		return strings.TrimSuffix(string(text), "\n"), err
	}
	all["fromYaml"] = func(text string) object {
		value := object{}
		if err := yaml.Unmarshal([]byte(text), &value); err != nil {
			value["Error"] = err.Error()
		}
		return value
	}
	all["fromYamlArray"] = func(text string) []interface{} {
		value := []interface{}{}
		if err := yaml.Unmarshal([]byte(text), &value); err != nil {
			value = []interface{}{err.Error()}
		}
		return value
	}
	all["lookup"] = func(version, kind, namespace, name string) object {
		for _, one := range existing {
			of, _ := one["metadata"].(object)
			if one["apiVersion"] == version && one["kind"] == kind && of["namespace"] == namespace &&
				of["name"] == name {
				return one
			}
		}
		return object{}
	}
	all["randAlphaNum"] = func(length int) string { return strings.Repeat("r", length) }
	all["randBytes"] = func(length int) string {
		return base64.StdEncoding.EncodeToString([]byte(strings.Repeat("r", length)))
	}
	return all
}

// files is Helm's .Files.
type files struct{ chart string }

// Get returns a file's text, or nothing if there is no such file.
func (f files) Get(name string) string {
	text, err := os.ReadFile(filepath.Join(f.chart, filepath.FromSlash(name)))
	if err != nil {
		return ""
	}
	return string(text)
}

// Glob returns the files that match a pattern, with their contents.
func (f files) Glob(pattern string) map[string][]byte {
	found := map[string][]byte{}
	names, _ := filepath.Glob(filepath.Join(f.chart, filepath.FromSlash(pattern)))
	for _, name := range names {
		inner, err := filepath.Rel(f.chart, name)
		text, other := os.ReadFile(name)
		if err == nil && other == nil {
			found[filepath.ToSlash(inner)] = text
		}
	}
	return found
}
