//! Listeners of every port: TCP or TLS, with certificates read again while they serve.
#![forbid(unsafe_code)]
