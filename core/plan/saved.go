package plan

// Saved is what apply needs beside a plan to carry out exactly that.
type Saved struct{}
