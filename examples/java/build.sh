#!/usr/bin/env bash
# Generates messages and stubs from protos/, and makes build/search.jar of them and Search.java. The libraries are Debian's; with
# Maven or Gradle they are io.grpc:grpc-netty-shaded, grpc-protobuf and grpc-stub.
set -euo pipefail
cd "$(dirname "$0")"

libraries=(grpc-api grpc-context grpc-core grpc-netty grpc-protobuf grpc-protobuf-lite grpc-stub protobuf guava
  netty-buffer netty-codec netty-codec-http netty-codec-http2 netty-common netty-handler netty-resolver netty-transport
  perfmark-api geronimo-annotation-1.3-spec)
jars=("${libraries[@]/#//usr/share/java/}")
jars=("${jars[@]/%/.jar}")

rm -rf build
buf generate
mkdir build/classes
# The compiler runs for a few seconds only: code that is optimised for long runs would make it slower.
javac -J-XX:TieredStopAtLevel=1 -proc:none -d build/classes -cp "$(IFS=:; echo "${jars[*]}")" -sourcepath build/generated Search.java
# A line of a manifest holds 72 bytes: each library stands on its own, which goes on from the line before.
printf 'Class-Path: \n' >build/manifest
printf '  %s\n' "${jars[@]}" >>build/manifest
jar --create --file build/search.jar --main-class Search --manifest build/manifest -C build/classes .
