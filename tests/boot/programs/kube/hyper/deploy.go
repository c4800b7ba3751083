package main

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/rancher/wrangler/v3/pkg/apply"
	"github.com/rancher/wrangler/v3/pkg/objectset"
	"github.com/rancher/wrangler/v3/pkg/yaml"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/tools/clientcmd"
)

// What a pass over the folder came to: a line of JSON on stdout.
type pass struct {
	Pass   int               `json:"pass"`
	Files  []string          `json:"files"`
	Errors map[string]string `json:"errors"` // by file
}

var addon = schema.GroupVersionKind{Group: "k3s.cattle.io", Version: "v1", Kind: "Addon"}

// deploy applies a folder of manifests with the library that k3s has for its own (wrangler's apply) and by the same
// rules: files in order of path, all objects of a file that can be applied, and again until no file fails.
func deploy(words []string) int {
	flags := flag.NewFlagSet("deploy", flag.ExitOnError)
	kubeconfig := flags.String("kubeconfig", "", "who does it, and where")
	pause := flags.Duration("pause", 2*time.Second, "between two passes; k3s waits 15 s")
	without := flags.String("without", "", "objects to leave out, KIND/NAME, separated by commas")
	patience := flags.Duration("patience", 2*time.Minute, "when to give up")
	_ = flags.Parse(words)
	config, err := clientcmd.BuildConfigFromFlags("", *kubeconfig)
	if err != nil {
		return complain(err)
	}
	config.QPS, config.Burst = 50, 100
	applier, err := apply.NewForConfig(config)
	if err != nil {
		return complain(err)
	}
	left := strings.Split(*without, ",")
	// The limit is k3s' own protection of small machines, and would only make the passes longer.
	desired := applier.WithDynamicLookup().WithRateLimiting(100)
	for begun, number := time.Now(), 1; ; number++ {
		result := once(desired, flags.Args(), left)
		result.Pass = number
		_ = json.NewEncoder(os.Stdout).Encode(result)
		if len(result.Errors) == 0 {
			return 0
		}
		if time.Since(begun) > *patience {
			return 1
		}
		time.Sleep(*pause)
	}
}

func complain(err error) int {
	fmt.Fprintln(os.Stderr, "deploy:", err)
	return 2
}

func once(desired apply.Apply, folders, left []string) pass {
	result := pass{Errors: map[string]string{}}
	for _, folder := range folders {
		files, err := manifests(folder)
		if err != nil {
			result.Errors[folder] = err.Error()
		}
		for _, file := range files {
			result.Files = append(result.Files, filepath.Base(file))
			if err := applyFile(desired, file, left); err != nil {
				result.Errors[filepath.Base(file)] = err.Error()
			}
		}
	}
	return result
}

// manifests are the files that k3s reads: YAML and JSON at any depth, without hidden ones, sorted by path.
func manifests(folder string) ([]string, error) {
	var found []string
	err := filepath.WalkDir(folder, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() || strings.HasPrefix(entry.Name(), ".") {
			return err
		}
		if slices.Contains([]string{".yaml", ".yml", ".json"}, filepath.Ext(path)) {
			found = append(found, path)
		}
		return nil
	})
	slices.Sort(found)
	return found, err
}

func applyFile(desired apply.Apply, path string, left []string) error {
	file, err := os.Open(path)
	if err != nil {
		return err
	}
	defer file.Close()
	objects, err := yaml.ToObjects(file)
	if err != nil {
		return fmt.Errorf("cannot be parsed: %w", err)
	}
	if len(objects) == 0 {
		return errors.New("has no objects")
	}
	objects = slices.DeleteFunc(objects, func(object runtime.Object) bool {
		one, err := meta.Accessor(object)
		return err == nil && slices.Contains(left, object.GetObjectKind().GroupVersionKind().Kind+"/"+one.GetName())
	})
	name, _, _ := strings.Cut(filepath.Base(path), ".")
	return desired.WithOwnerKey("kube-system/"+name, addon).Apply(objectset.NewObjectSet(objects...))
}
