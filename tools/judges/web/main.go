// web is the world outside of the clusters, as far as they read it: a registry, a Git server and files to download, under the names of the
// real hosts. It listens on loopback only; the lab's proxy leads there.
//
// usage: web FOLDER ADDRESS STRANGERS
//
// Both addresses serve the same, but on the second one nobody knows the password of the Git repository.
//
// FOLDER holds server.crt and server.key, files/HOST/PATH (what can be downloaded), and settings.json, which is read at every request:
//
//	{"git": {"host": "github.com", "path": "owner/name", "folder": "/…/remote.git", "password": "…"}, "registries": ["ghcr.io", …],
//	 "missing": ["cilium", …]}
//
// Whoever reads from a registry does not find a repository whose last name is among the missing ones.
package main

import (
	"bytes"
	"crypto/subtle"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/cgi"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/google/go-containerregistry/pkg/registry"
)

type settings struct {
	Git struct {
		Host     string `json:"host"`
		Path     string `json:"path"`
		Folder   string `json:"folder"`
		Password string `json:"password"`
	} `json:"git"`
	Registries []string `json:"registries"`
	Missing    []string `json:"missing"`
}

type web struct {
	folder string
	// One registry a host: a mirror is not what it mirrors.
	registries map[string]http.Handler
}

func (w *web) settings() (settings, error) {
	var read settings
	text, err := os.ReadFile(filepath.Join(w.folder, "settings.json"))
	if err == nil {
		err = json.Unmarshal(text, &read)
	}
	return read, err
}

func (w *web) ServeHTTP(answer http.ResponseWriter, request *http.Request) {
	log.Printf("%s %s%s", request.Method, request.Host, request.URL.Path)
	read, err := w.settings()
	if err != nil {
		http.Error(answer, err.Error(), http.StatusInternalServerError)
		return
	}
	host := request.Host
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	rest := strings.TrimPrefix(request.URL.Path, "/")
	repository := strings.TrimSuffix(strings.TrimPrefix(read.Git.Path, "/"), ".git")
	for _, prefix := range []string{repository + ".git/", repository + "/"} {
		if host == read.Git.Host && repository != "" && strings.HasPrefix(rest, prefix) {
			w.git(answer, request, read, "/"+strings.TrimPrefix(rest, prefix))
			return
		}
	}
	if slices.Contains(read.Registries, host) {
		reads := request.Method == http.MethodGet || request.Method == http.MethodHead
		if parts := strings.Split(rest, "/"); reads && slices.ContainsFunc(read.Missing, func(name string) bool { return named(parts, name) }) {
			answer.Header().Set("Content-Type", "application/json")
			answer.WriteHeader(http.StatusNotFound)
			fmt.Fprint(answer, `{"errors":[{"code":"NAME_UNKNOWN","message":"repository name not known to registry"}]}`)
			return
		}
		w.registries[host].ServeHTTP(answer, request)
		return
	}
	w.file(answer, request, host)
}

// named says whether the path of a registry's request, v2/SOME/NAME/manifests/TAG, is about a repository whose last name this is.
func named(parts []string, name string) bool {
	for at := 2; at < len(parts); at++ {
		if parts[at] == "manifests" || parts[at] == "tags" {
			return parts[at-1] == name
		}
	}
	return false
}

// strangers serves the same to people whose password is not believed.
type strangers struct{ *web }

func (s strangers) ServeHTTP(answer http.ResponseWriter, request *http.Request) {
	if request.Header.Get("Authorization") != "" {
		request.SetBasicAuth("stranger", "")
	}
	s.web.ServeHTTP(answer, request)
}

// file gives what lies in the folder of the host; a path that leads out of it is refused by the root.
func (w *web) file(answer http.ResponseWriter, request *http.Request, host string) {
	root, err := os.OpenRoot(filepath.Join(w.folder, "files"))
	if err != nil {
		http.NotFound(answer, request)
		return
	}
	defer root.Close()
	file, err := root.Open(filepath.Join(host, filepath.FromSlash(strings.TrimPrefix(request.URL.Path, "/"))))
	if err != nil {
		http.NotFound(answer, request)
		return
	}
	defer file.Close()
	if about, err := file.Stat(); err != nil || about.IsDir() {
		http.NotFound(answer, request)
		return
	}
	if _, err := io.Copy(answer, file); err != nil {
		log.Print(err)
	}
}

// git serves the one repository by git's own program, to those who know its password.
func (w *web) git(answer http.ResponseWriter, request *http.Request, read settings, rest string) {
	_, password, known := request.BasicAuth()
	if !known || subtle.ConstantTimeCompare([]byte(password), []byte(read.Git.Password)) != 1 || read.Git.Password == "" {
		answer.Header().Set("WWW-Authenticate", `Basic realm="git"`)
		http.Error(answer, "Invalid username or token.", http.StatusUnauthorized)
		return
	}
	program, err := exec.LookPath("git")
	if err != nil {
		http.Error(answer, "there is no git here", http.StatusInternalServerError)
		return
	}
	// CGI knows no chunks.
	body, err := io.ReadAll(http.MaxBytesReader(answer, request.Body, 64<<20))
	if err != nil {
		http.Error(answer, err.Error(), http.StatusBadRequest)
		return
	}
	request.Body = io.NopCloser(bytes.NewReader(body))
	request.ContentLength, request.TransferEncoding = int64(len(body)), nil
	request.URL.Path = rest
	handler := &cgi.Handler{
		Path: program,
		Args: []string{"http-backend"},
		Dir:  read.Git.Folder,
		Env: []string{
			"GIT_PROJECT_ROOT=" + read.Git.Folder, "GIT_HTTP_EXPORT_ALL=1", "REMOTE_USER=git", "HOME=" + w.folder,
			// Who owns the folder is the lab's business; nothing but this repository is served.
			"GIT_CONFIG_COUNT=2", "GIT_CONFIG_KEY_0=http.receivepack", "GIT_CONFIG_VALUE_0=true",
			"GIT_CONFIG_KEY_1=safe.directory", "GIT_CONFIG_VALUE_1=*",
		},
		InheritEnv: []string{"PATH", "LAB_REAL"},
		Stderr:     os.Stderr,
	}
	handler.ServeHTTP(answer, request)
}

func run(folder string, addresses [2]string) error {
	served := &web{folder: folder, registries: map[string]http.Handler{}}
	read, err := served.settings()
	if err != nil {
		return err
	}
	for _, host := range read.Registries {
		served.registries[host] = registry.New(registry.Logger(log.New(io.Discard, "", 0)))
	}
	ended := make(chan error)
	for at, handler := range []http.Handler{served, strangers{served}} {
		if host, _, err := net.SplitHostPort(addresses[at]); err != nil || !net.ParseIP(host).IsLoopback() {
			return fmt.Errorf("%s is no address of loopback", addresses[at])
		}
		server := &http.Server{
			Addr: addresses[at], Handler: handler, ReadHeaderTimeout: 10 * time.Second,
			// One request a connection, so that the proxy can lead the next one elsewhere.
			TLSNextProto: map[string]func(*http.Server, *tls.Conn, http.Handler){},
		}
		server.SetKeepAlivesEnabled(false)
		go func() {
			ended <- server.ListenAndServeTLS(filepath.Join(folder, "server.crt"), filepath.Join(folder, "server.key"))
		}()
	}
	return <-ended
}

func main() {
	if len(os.Args) != 4 {
		fmt.Fprintln(os.Stderr, "usage: web FOLDER ADDRESS STRANGERS")
		os.Exit(2)
	}
	if err := run(os.Args[1], [2]string{os.Args[2], os.Args[3]}); err != nil {
		fmt.Fprintln(os.Stderr, "web:", err)
		os.Exit(1)
	}
}
