// The standard works with Go's fasttemplate, with and without escaping. What is
// in brackets and no tag goes out as it stands, as the works want it.
package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"sort"
	"time"

	"github.com/valyala/bytebufferpool"
	"github.com/valyala/fasttemplate"
)

type work struct {
	Name     string
	Mode     string
	Template string
	Events   []map[string]string
}

const hexLower = "0123456789abcdef"
const hexUpper = "0123456789ABCDEF"

var plainURL [256]bool

func appendJSON(to []byte, s string) []byte {
	from := 0
	for i := 0; i < len(s); i++ {
		c := s[i]
		if c >= 0x20 && c != '"' && c != '\\' {
			continue
		}
		to = append(to, s[from:i]...)
		from = i + 1
		switch c {
		case '"', '\\':
			to = append(to, '\\', c)
		case '\n':
			to = append(to, '\\', 'n')
		case '\r':
			to = append(to, '\\', 'r')
		case '\t':
			to = append(to, '\\', 't')
		default:
			to = append(to, '\\', 'u', '0', '0', hexLower[c>>4], hexLower[c&15])
		}
	}
	return append(to, s[from:]...)
}

func appendURL(to []byte, s string) []byte {
	for i := 0; i < len(s); i++ {
		c := s[i]
		if plainURL[c] {
			to = append(to, c)
		} else {
			to = append(to, '%', hexUpper[c>>4], hexUpper[c&15])
		}
	}
	return to
}

func renderer(w *work, escape bool) func(io.Writer, map[string]string) {
	t := fasttemplate.New(w.Template, "[", "]")
	var scratch []byte
	var event map[string]string
	put := func(out io.Writer, tag string) (int, error) {
		value, ok := event[tag]
		if !ok {
			scratch = append(append(append(scratch[:0], '['), tag...), ']')
			return out.Write(scratch)
		}
		if !escape {
			return io.WriteString(out, value)
		}
		if w.Mode == "json" {
			scratch = appendJSON(scratch[:0], value)
		} else {
			scratch = appendURL(scratch[:0], value)
		}
		return out.Write(scratch)
	}
	return func(out io.Writer, e map[string]string) {
		event = e
		t.ExecuteFunc(out, put)
	}
}

func measure(w *work, render func(io.Writer, map[string]string)) float64 {
	var out bytebufferpool.ByteBuffer
	pass := func() {
		for _, e := range w.Events {
			out.Reset()
			render(&out, e)
		}
	}
	start := time.Now()
	pass()
	passes := int(20*time.Millisecond/(time.Since(start)+1)) + 1
	var figures []float64
	for round := 0; round < 9; round++ {
		start = time.Now()
		for i := 0; i < passes; i++ {
			pass()
		}
		figures = append(figures, float64(time.Since(start).Nanoseconds())/float64(passes*len(w.Events)))
	}
	sort.Float64s(figures)
	return figures[len(figures)/2]
}

// check compares the escaped outputs with the wanted ones.
func check(w *work, render func(io.Writer, map[string]string), dir string) {
	var all bytebufferpool.ByteBuffer
	for _, e := range w.Events {
		render(&all, e)
	}
	want, err := os.ReadFile(dir + "/out/ref." + w.Name)
	if err != nil || string(want) != string(all.B) {
		fmt.Fprintln(os.Stderr, "fasttemplate: wrong output of", w.Name)
		os.Exit(1)
	}
}

func main() {
	dir := os.Args[1]
	for c := 0; c < 256; c++ {
		plainURL[c] = c >= '0' && c <= '9' || c >= 'A' && c <= 'Z' || c >= 'a' && c <= 'z' ||
			c == '-' || c == '.' || c == '_' || c == '~'
	}
	text, err := os.ReadFile(dir + "/works.json")
	var works []work
	if err == nil {
		err = json.Unmarshal(text, &works)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	figures := map[string]map[string]float64{"fasttemplate": {}, "fasttemplate_escaped": {}}
	for i := range works {
		w := &works[i]
		escaped := renderer(w, true)
		check(w, escaped, dir)
		figures["fasttemplate_escaped"][w.Name] = measure(w, escaped)
		figures["fasttemplate"][w.Name] = measure(w, renderer(w, false))
	}
	json.NewEncoder(os.Stdout).Encode(figures)
}
