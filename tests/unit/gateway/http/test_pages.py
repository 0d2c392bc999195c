"""Pages that load nothing from elsewhere, and an OpenAPI that says what is sent."""

from __future__ import annotations

import json
import re

import pytest
from google.protobuf.descriptor import FieldDescriptor

from gateway.collections.collections import MAX_DESCRIPTION
from gateway.page.pages import FOLDER
from lookalike.bounds import most_characters, range_of
from lookalike.filters.parsing import MAX_CHARACTERS
from lookalike.names import MAX_EF, MAX_TOP_K
from lookalike.picture_formats import FORMATS
from lookalike.records.search_options import DEFAULT_TOP_K
from lookalike.v1 import collection_service_pb2, ingest_service_pb2, search_service_pb2
from tests.unit.gateway.http_app import ask

# --- pages ---


@pytest.mark.parametrize("path", ["/", "/docs"])
def test_pages_allow_nothing_from_elsewhere(path: str) -> None:
    response = ask("GET", path)
    policy = response.headers["content-security-policy"]
    assert policy.startswith("default-src 'self'")
    assert "http" not in policy
    local = re.findall(r'(?:src|href)="([^"]+)"', response.text)
    assert local
    assert all(link.startswith("/") for link in local)
    for link in local:
        assert ask("GET", link).status_code == 200


def test_our_own_scripts_and_styles_name_no_other_host() -> None:
    ours = [path for path in FOLDER.iterdir() if path.suffix in (".js", ".css", ".html")]
    assert len(ours) > 5
    for path in ours:
        assert not re.search(r"(https?:)?//[a-z]", re.sub(r"\s//.*|^//.*", "", path.read_text(), flags=re.M)), path.name


def test_the_page_offers_the_formats_that_are_read() -> None:
    response = ask("GET", "/page/formats.js")
    assert response.headers["content-type"].startswith("text/javascript")
    assert response.headers["x-content-type-options"] == "nosniff"
    offered = re.findall(r"image/[a-z]+", response.text)
    assert offered == [read.media_type for read in FORMATS]
    assert "MEDIA_TYPES" in response.text
    assert "accept=${MEDIA_TYPES}" in (FOLDER / "query.js").read_text()


# --- OpenAPI ---


def test_openapi_says_that_errors_are_json_and_that_nothing_left_out_is_null() -> None:
    document = ask("GET", "/openapi.json").json()
    operations = [operation for path in document["paths"].values() for operation in path.values()]
    answers = [answer for operation in operations for answer in operation["responses"].items()]
    assert all(set(answer["content"]) == {"application/json"} for code, answer in answers if int(code) >= 400)
    parameters = [parameter["schema"] for operation in operations for parameter in operation.get("parameters", ())]
    bodies = [operation["requestBody"]["content"] for operation in operations if "requestBody" in operation]
    schemas = [*parameters, *(content["schema"] for body in bodies for content in body.values())]
    assert not [schema for schema in schemas if {"type": "null"} in schema.get("anyOf", ())]


def test_openapi_documents_every_route_with_its_answers() -> None:
    document = ask("GET", "/openapi.json").json()
    operations = {
        f"{method.upper()} {path}": operation
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
    }
    assert len(operations) > 20, "none is hidden"
    for name, operation in operations.items():
        assert operation["summary"], name
        assert len(operation["tags"]) == 1, name
        assert "422" not in operation["responses"], name
        assert {"429", "500", "503", "504"} <= set(operation["responses"]), name
        success = next(answer for code, answer in operation["responses"].items() if code.startswith("2"))
        assert all("schema" in kind or name.endswith("thumbnail") for kind in success["content"].values()), name
    referenced = set(re.findall(r"#/components/schemas/(\w+)", json.dumps(document)))
    assert referenced <= set(document["components"]["schemas"])


def test_the_search_body_is_documented_as_a_form_and_as_json() -> None:
    document = ask("GET", "/openapi.json").json()
    content = document["paths"]["/v1/collections/{collection}/search"]["post"]["requestBody"]["content"]
    assert set(content) == {"multipart/form-data", "application/json"}
    assert content["multipart/form-data"]["schema"]["properties"]["image"]["format"] == "binary"
    assert content["application/json"]["schema"] == {"$ref": "#/components/schemas/SearchRequest"}
    schemas, form = document["components"]["schemas"], content["multipart/form-data"]["schema"]
    body = schemas["SearchRequest"]
    assert (set(body["properties"]), body["required"]) == ({"query", "options"}, ["query"])
    assert set(schemas["QueryInput"]["properties"]) == {"image", "vectors", "image_id"}
    options = schemas["SearchOptionsInput"]["properties"]
    assert set(form["properties"]) == {"image", *options}
    assert options["top_k"]["default"] == form["properties"]["top_k"]["default"] == DEFAULT_TOP_K


MESSAGES = {
    **search_service_pb2.DESCRIPTOR.message_types_by_name,
    **collection_service_pb2.DESCRIPTOR.message_types_by_name,
    **ingest_service_pb2.DESCRIPTOR.message_types_by_name,
}


@pytest.mark.parametrize("name", ["IngestForecast", "IngestJob", "Collection", "ListIngestFailuresResponse"])
def test_a_documented_answer_has_the_fields_of_the_contract_in_its_words(name: str) -> None:
    schema = ask("GET", "/openapi.json").json()["components"]["schemas"][name]
    assert set(schema["properties"]) == {field.name for field in MESSAGES[name].fields}
    assert all(shown.get("description") for shown in schema["properties"].values())
    for field in MESSAGES[name].fields:
        if field.cpp_type == FieldDescriptor.CPPTYPE_INT64:
            assert schema["properties"][field.name]["type"] == "string", field.name


def test_what_may_be_absent_of_an_answer_is_not_required_of_it() -> None:
    schema = ask("GET", "/openapi.json").json()["components"]["schemas"]["IngestJob"]
    absent = {"error", "end_time", "forecast", "comparison", "undo"}
    assert set(schema["properties"]) - set(schema["required"]) == absent


def test_the_document_says_which_fields_a_body_must_have() -> None:
    schemas = ask("GET", "/openapi.json").json()["components"]["schemas"]
    assert schemas["CreateIngestJobRequest"]["required"] == ["collection", "source"]
    assert "failures" not in schemas["SourceInput"]["properties"], "only in answers"
    assert schemas["CreateCollectionRequest"]["additionalProperties"] is False
    assert schemas["CreateCollectionRequest"]["properties"]["description"]["maxLength"] == MAX_DESCRIPTION


def test_every_answer_of_the_contract_is_documented() -> None:
    documented = ask("GET", "/openapi.json").json()["components"]["schemas"]
    undocumented = {name for name in MESSAGES if name.endswith("Response") and name not in documented}
    by_hand = {"GetThumbnailResponse", "WatchIngestJobResponse"}
    assert undocumented == {"UploadItemsResponse", "ImportImagesResponse"} | by_hand


@pytest.mark.parametrize(
    ("name", "field", "most"),
    [("SearchOptions", "top_k", MAX_TOP_K), ("SearchOptions", "ef", MAX_EF)],
)
def test_the_contract_says_how_large_a_number_may_be(name: str, field: str, most: int) -> None:
    assert range_of(MESSAGES[name].fields_by_name[field])[1] == most


def test_the_contract_says_how_long_a_filter_may_be() -> None:
    filters = [message.fields_by_name["filter"] for message in MESSAGES.values() if "filter" in message.fields_by_name]
    assert {most_characters(field) for field in filters} == {MAX_CHARACTERS}
