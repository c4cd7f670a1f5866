package siem

// productExamples are those for products that are not in Debian: what they are
// run against answers as the product's documentation says.
var productExamples = []example{
	{"splunk.conf", "Splunk", "events by HEC", "TestExampleSplunk", standIn},
	{"elasticsearch.conf", "Elasticsearch", "documents in bulk", "TestExampleElastic", standIn + ", which refuses single events as well"},
	{"opensearch.conf", "OpenSearch", "documents in bulk", "TestExampleElastic", standIn + ", which refuses single events as well"},
	{"receivers/elasticsearch-template.json", "what Elasticsearch and OpenSearch are told first", "", "TestIndexTemplate", "the rules of dynamic mapping, in the test"},
	{"sentinel.conf", "Microsoft Sentinel", "JSON by the Logs Ingestion API", "TestExampleSentinel", standIn + ", where Fluent Bit has the output"},
	{"receivers/sentinel-stream.json", "the columns that Sentinel needs", "", "TestExampleSentinel", standIn},
	{"secops.conf", "Google SecOps (Chronicle)", "JSON by the Ingestion API", "TestExampleSecOps", standIn + ", where Fluent Bit has the output"},
	{"graylog.conf", "Graylog", "GELF over TCP with TLS", "TestExampleGraylog", standIn},
	{"loki.conf", "Grafana Loki", "JSON, a stream for each log", "TestExampleLoki", standIn},
	{"receivers/loki.yaml", "what Loki needs for catching up", "", "TestExampleLoki", standIn},
	{"datadog.conf", "Datadog", "JSON by the logs API", "TestExampleDatadog", standIn},
	{"s3.conf", "Amazon S3 and stores like it", "objects of JSON lines", "TestExampleS3", standIn + ", which verifies signatures"},
	{"kafka.conf", "Kafka", "JSON, the key is `event_id`", "", ""},
	{"file.conf", "a file", "JSON lines", "TestExampleFile", "a file that is renamed"},
	{"siem-per-log.conf", "a different SIEM for each log", "events to Splunk, OpenSearch and S3", "TestExampleSIEMPerLog", "the stand-ins of the three"},
	{"siem-per-log.yaml", "the same in YAML", "the same", "TestExampleSIEMPerLog", "the stand-ins of the three"},
}

// standIn is what a product's example was run against.
const standIn = "a stand-in, not the real one"
