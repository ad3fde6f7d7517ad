package config

import "strings"

// nearest gives the known word that was most likely meant by word, or "".
// Words count as near up to one slip in three letters: a letter missing, too
// many, wrong, or two neighbours swapped; case does not count.
func nearest(word string, known []string) string {
	best, limit := "", max(1, min(3, len([]rune(word))/3))
	for _, k := range known {
		if d := distance(strings.ToLower(word), strings.ToLower(k)); d <= limit {
			best, limit = k, d-1
		}
		if limit < 0 {
			break
		}
	}
	return best
}

// distance counts the slips between two words (Damerau-Levenshtein, in the
// form that edits no stretch twice).
func distance(a, b string) int {
	x, y := []rune(a), []rune(b)
	older, old, row := make([]int, len(y)+1), make([]int, len(y)+1), make([]int, len(y)+1)
	for j := range row {
		row[j] = j
	}
	for i := 1; i <= len(x); i++ {
		older, old, row = old, row, older
		row[0] = i
		for j := 1; j <= len(y); j++ {
			wrong := 1
			if x[i-1] == y[j-1] {
				wrong = 0
			}
			row[j] = min(old[j]+1, row[j-1]+1, old[j-1]+wrong)
			if i > 1 && j > 1 && x[i-1] == y[j-2] && x[i-2] == y[j-1] {
				row[j] = min(row[j], older[j-2]+1)
			}
		}
	}
	return row[len(y)]
}
