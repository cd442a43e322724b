"""The commented job file of `crawler init`.

Decides what a newcomer reads first. Must not know the model. Invariant: it loads as it is, and names every key of the
model (tests hold both).
"""

from __future__ import annotations


def template(name: str) -> str:
    """A job file to begin with: what is needed first, every other key commented out with its default."""
    return _TEMPLATE.replace("@NAME@", name)


_TEMPLATE = """\
# Run it: crawler run @NAME@.toml     Check it: crawler check @NAME@.toml
# Commented lines show the defaults. Times are written "2s", "5m"; sizes "64MiB"; rates "10/s", "6/min".

name = "@NAME@"                           # state and results go to output/@NAME@
# extends = "base.toml"                  # merged below this file

[input]                                  # one or more sources, read as the run goes
urls = ["https://example.org/"]
# files = ["urls.txt", "rows.csv.gz"]    # .txt, .csv, .tsv, .jsonl, each also .gz or .zst; "-" is stdin
# column = "url"                         # the column of a table that holds the URL
# sitemaps = ["https://example.org/sitemap.xml"]   # each page that they name, gzip and indexes too
# template = "https://api.example.org/items?page={page}"
# vars = { page = "1..500" }             # ranges ("1..500", "001..500", "0..100 step 10") or lists
# dedupe = true                          # a URL that is named twice is fetched once

[request]                                # what rows of a table do not say themselves
# method = "GET"                         # POST where a body is named
# base_url = "https://api.example.org/v1/"
# contact = "https://example.org/bot"    # or "me@example.org", yours: every site sees it in the User-Agent
# headers = { Accept-Language = "en" }
# params = { lang = "en" }               # appended to every URL
# json = { key = "value" }               # a JSON body; or one of these:
# form = { user = "ada", tag = ["a", "b"] }
# multipart = { note = "text", doc = { file = "a.pdf", content_type = "application/pdf" } }
# body = "text"
# body_file = "upload.bin"               # sent from the file at constant memory
# cookies = { lang = "en" }              # sent with every request
# accept_status = ["2xx"]                # what counts as success: "200", "2xx", "200-299"
# decompress = true                      # false: bodies are kept as they came, gzip and all
# idempotency_key = false                # true: POST and PATCH carry an Idempotency-Key that stays over retries

[expect]                                 # a success that is not like this is a failure: unexpected-content
# content_type = ["application/json"]    # any of these: "image/*", "application/*+json"
# json = true                            # the body can be read as JSON
# min_size = "1KiB"
# verify_format = true                   # a zip, PNG, PDF, … has its end
# contains = "</html>"
# not_contains = "<title>Log in"

# [paging]                               # each answer leads to the next page
# next = "link"                          # by its Link header; or "jmespath:meta.next": a URL, or with param a cursor
# param = "page"                         # alone: counted up until a page is empty
# start = 1
# step = 1
# items = "jmespath:items"               # what is empty behind the last page; else the whole body
# total_pages = "jmespath:meta.pages"
# max_pages = 1000
# hosts = ["api.example.org"]            # all by default

# [crawl]                                # with it the inputs are seeds, and links are followed
# scope = "host"                         # or "domain" (with all below it), "prefix" (below a seed's folder), "any"
# allow = ["/docs/"]                     # regular expressions: only URLs in which one of these is found
# deny = ["/print/", "[?&]sort="]        # and none in which one of these is
# depth = 5                              # clicks from a seed; no bound by default
# max_pages = 10000                      # requests in all; no bound by default
# max_pages_per_host = 1000
# prefer = ["/news/"]                    # go before others of their host
# prefer_priority = 0.8                  # as do those to which a sitemap gives so much
# follow = ["a", "area", "link", "iframe", "refresh", "header", "feed", "sitemap"]
# nofollow = "obey"                      # or "ignore": rel, <meta name=robots>, X-Robots-Tag
# sitemaps = false                       # true: also what robots.txt names as sitemaps, or /sitemap.xml
# json = "jmespath:items[].url"          # links in pages that are JSON
# requisites = false                     # true: images, style sheets, scripts and what else a page needs to be shown
# requisites_anywhere = false            # true: those out of scope as well
# sort_query = false                     # true: ?b=2&a=1 is ?a=1&b=2
# drop_params = ["ref"]                  # parameters that change nothing; "utm_*"
# drop_tracking = false                  # true: those of trackers, and session ids
# max_url_length = 2000
# traps = { repeats = 3, combinations = 10000, alike = 50 }   # or false; on = true

# [extract]                              # fields of each page, in its record under "fields"
# function = "shop:page"                 # a function of yours for each page: items, more requests, fields
# title = "css:title::text"              # or "jmespath:…", "regex:…", "function:module:name"
# price = { css = ".price::text", regex = "[0-9.]+", type = "float", required = true }
# tags = { css = "a.tag::text", list = true, url = "/articles/" }

# [websocket]                            # for ws:// and wss:// inputs: each frame becomes a line of frames.jsonl
# send = ["hello", { base64 = "AAE=" }]  # after each connect; a column "send" of a row says it for that row
# count = 1000                           # a capture is over after so many frames,
# time = "10m"                           # after so long,
# pattern = "^bye"                       # with a text frame that matches; else when the server closes
# subprotocols = ["graphql-ws"]
# heartbeat = "30s"                      # silence after which the server is pinged
# max_message = "1MiB"
# reconnect = true                       # by [retry], counted anew after each frame

[cookies]
# jar = false                            # true: keep the cookies that servers set, for this run
# persist = false                        # and for the runs after it
# load = "cookies.txt"                   # begin with these (Netscape format or ours)
# save = "cookies.txt"                   # written at the end

# [auth.api]                             # as many as you like; one each for basic, digest, bearer, key, netrc, oauth2,
# type = "bearer"                        # hmac, sigv4, plugin: see the README
# token = "env:API_TOKEN"                # or file:PATH, keyring:SERVICE/USER, vault:MOUNT/PATH#FIELD, cmd:PROGRAM
# hosts = ["api.example.org"]            # it goes nowhere else

[limits]
# workers = 64                           # requests under way at once
# rate = "200/s"                         # the whole job; no limit by default
# per_host = 8                           # requests under way at one host; all of its ports count as one
rate_per_host = "5/s"                    # no limit by default: be kind to sites that are not yours
# burst_per_host = 1                     # so many may follow each other at once after a pause
# delay_per_host = "0s"                  # at least so long between two requests to one host
# politeness = "host"                    # what shares one pace: "host", "domain" (example.org with all below), "ip"
# adaptive = true                        # ask hosts that say 429 or get slow less, and carefully more again
# min_rate_per_host = "6/min"            # but no less than this
# robots = "ignore"                      # or "obey": robots.txt, its Crawl-delay included
# crawl_delay_max = "1m"                 # a longer Crawl-delay counts as this
# bandwidth = "20MiB/s"                  # bytes of bodies, the whole job; no limit by default
# bandwidth_per_host = "2MiB/s"          # the same for one host
# memory = "1GiB"                        # while the process takes more nothing new begins; no limit by default
# max_body = "1GiB"                      # after decompression
# max_ratio = 200                        # of a body to what came of it, compressed
# segments_per_file = 1                  # ranges of one large file at once, as far as per_host allows
# max_redirects = 20

[timeouts]
# connect = "5s"
# read = "15s"                           # silence before the answer or within the body
# total = "5m"                           # one attempt
# stall = "30s"                          # a body slower than min_speed for so long is given up
# min_speed = "10B/s"

[retry]
# attempts = 5
# methods = ["GET", "HEAD", "OPTIONS", "PUT", "DELETE"]   # add "POST" only where sending it twice does no harm
# backoff = { initial = "0.5s", factor = 2.0, max = "2m", jitter = "full" }   # or jitter = "none"
# statuses = [408, 425, 429, 500, 502, 503, 504]
# retry_after_max = "1h"                 # the longest Retry-After that is obeyed

[breaker]
# failures = 10                          # in a row (connect, timeout, 5xx), then a host is only probed
# give_up = "15m"                        # still broken then: its requests end as host-dead, for `crawler retry`

[connection]
# keepalive = "30s"                      # an idle connection is kept so long
# dns_ttl = "1m"                         # an address is remembered so long
# resolve = { "example.org" = "192.0.2.7", "example.org:8080" = "[2001:db8::7]:80" }   # instead of asking DNS
# proxy = "http://proxy.example.org:3128"   # https://, socks5://, socks5h://; "env:PROXY"; or a list
# proxy_rotate = "each"                  # of a list: another one for each request, or "host": one for each host
# trust_env = false                      # true: HTTP_PROXY, HTTPS_PROXY, ALL_PROXY and NO_PROXY count
# ca_bundle = "ca.pem"                   # instead of the system's
# client_cert = "me.pem"                 # or { cert = "me.pem", key = "me.key", password = "env:KEY_PASSWORD" }
# tls_min_version = "1.2"
# fingerprints = ["…"]                   # SHA-256 of the certificates that are accepted
# verify = true                          # false: whoever stands between reads and changes all
# local_address = "192.0.2.1"
# family = "any"                         # or "ipv4", "ipv6"
# unix_socket = "/run/app.sock"
# allow_private = false                  # may redirects and names lead to loopback, private or metadata addresses

[output]
# dir = "output"
# records = "jsonl"                      # one line for each input; or "csv", "parquet", or a list of several
# compress = false                       # records.jsonl.zst
# part_rows = 100000                     # records in a Parquet part
# bodies = "files"                       # or "warc", "tar", "inline", a list; or "none": sizes and digests alone
# share = true                           # identical bodies are stored once, over all runs
# segment_size = "1GiB"                  # of a WARC file or a tar shard
# keep_secrets = false                   # credentials and cookies are kept in the WARC
# sync = "commit"                        # durable with each commit; or "close": of a file; or "never"
# min_free = "256MiB"                    # room that stays free on the disk
# min_free_percent = 1.0                 # and in percent; the larger of both counts
# wait_for_room = "30s"                  # before the run stops with exit code 4
# layout = "hash"                        # by sha256; or "mirror": host/path; or a template: "{host}/{stem}{ext}"
# headers_in_record = false              # response headers in each record
# upload = { to = "s3://my-bucket/crawls" }   # finished files are copied there as they are committed; or as a table:

# [output.upload]
# to = "s3://my-bucket/crawls"           # or gs://, abfs://, sftp://, smb://, file:///folder, … by fsspec
# endpoint = "https://minio.example.org" # of s3://, as all down to session_token
# region = "eu-central-1"
# profile = "batch"                      # instead of keys; with neither AWS's own chain is asked
# access_key = "env:UPLOAD_KEY"
# secret_key = "env:UPLOAD_SECRET"
# session_token = "env:UPLOAD_TOKEN"
# options = { username = "ada", password = "env:SFTP_PASSWORD" }   # of other targets
# what = ["bodies", "segments", "records"]
# parallel = 4                           # files sent at once
# attempts = 5                           # of each file in one start
# backoff = { initial = "0.5s", factor = 2.0, max = "2m", jitter = "full" }
# timeout = "1m"                         # silence of the target
# allow_insecure = false                 # plain http or ftp to another machine

[run]
# again = "refresh"                      # after a finished run: ask only for what changed (ETag, Last-Modified); or
#                                        # "all", "new" (inputs not seen yet), "adaptive" (each as often as it changes)
# honor_expires = false                  # true: what Cache-Control or Expires calls fresh is not asked for
# checks = { least = "1h", most = "30d" }   # of "adaptive": how often a URL is looked at
# keep_runs = 30                         # older runs are removed, with what only they had; without it none is
# if_running = "skip"                    # exit with 75 while another start is at work; or "wait", "fail" (75, and said)
# wait = "10m"                           # of "wait": no longer than that
# max_time = "50m"                       # then no request is begun, those under way end, and the next start goes on
# until = "06:00"                        # the same at a time of the day (local time)
# jitter = "0s"                          # wait a random time up to this before the start
# max_failed = 0                         # a count or a share: "2%"; or { total = "2%", "status-404" = 100 }
# on_success = "notify ok"               # a text or a list, run beside the job file at the end; CRAWLER_* tell of it
# on_failure = ["mail", "-s", "crawl failed", "ops"]
# heartbeat = "env:HEARTBEAT_URL"        # asked at the start (/start), at a good end, at a bad one (/fail)
# report = false                         # write report.html when the run ends

[metrics]
# textfile = "/var/lib/prometheus/node-exporter/crawler.prom"   # or a folder ending in "/"

# [hosts."*.example.org"]                # what is other for some hosts: any limit that counts per host, and these
# per_host = 2                           # `crawler check FILE --for URL` tells what holds where
# headers = { X-Client = "batch" }
# retry = { attempts = 2 }               # likewise timeouts = { read = "1m" }, breaker = { give_up = "1h" },
# connection = { proxy = "direct" }      # request = { method = "POST" }, expect = { json = true }
"""
