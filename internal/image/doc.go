// Package image tests the container image that the Dockerfile makes.
//
// It promises that the image, run as compose.yaml runs it, delivers what a simulated Duo has, goes on where a removed
// container was, ends within Docker's grace, writes to its volume only, and says what is wrong with a secret. The tests take
// the name of an image in -image, and a Docker that answers; they need neither a network nor an account. As root they also
// try secrets of other owners.
package image
