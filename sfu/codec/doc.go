// Package codec reads the few bytes at the head of a video payload that a forwarding unit needs: where frames start, keyframes,
// temporal and spatial layers, picture ids. Of the coded picture, which may be encrypted end to end, it reads the size where a keyframe tells it.
//
// vp8.go follows RFC 7741 §4.2, vp9.go RFC 9628 §4.2, and keyframe.go RFC 6184 §5 (H264), the AV1 RTP payload
// specification v1.0.0 §4.4 and its dependency descriptor (appendix A). h264.go reads the size out of a parameter set.
//
// Nothing here allocates, keeps a reference to its arguments, starts a goroutine, locks, logs or reads a clock.
package codec
