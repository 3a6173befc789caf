# Reads documents, each after its length in four bytes, and writes what Expat made of each as a line of JSON: the root element in the form of
# stanza.Element, or {"error": "..."}.
import json
import struct
import sys
from xml.parsers import expat

SEPARATOR = "\x01"  # cannot be in a document


def name(s):
    space, _, local = s.rpartition(SEPARATOR)
    return {"Space": space, "Local": local}


def read(document):
    parser = expat.ParserCreate("UTF-8", SEPARATOR)
    parser.buffer_text = True
    parser.ordered_attributes = True
    top = {"Nodes": []}
    stack = [top]

    def start(tag, attributes):
        pairs = zip(attributes[::2], attributes[1::2])
        element = dict(name(tag), Attrs=[dict(name(k), Value=v) for k, v in pairs], Nodes=[])
        stack[-1]["Nodes"].append({"Elem": element})
        stack.append(element)

    parser.StartElementHandler = start
    parser.EndElementHandler = lambda tag: stack.pop()
    parser.CharacterDataHandler = lambda text: stack[-1]["Nodes"].append({"Text": text})
    try:
        parser.Parse(document, True)
    except expat.ExpatError as e:
        return {"error": str(e)}
    return top["Nodes"][0]["Elem"]


while len(head := sys.stdin.buffer.read(4)) == 4:
    (length,) = struct.unpack(">I", head)
    print(json.dumps(read(sys.stdin.buffer.read(length))), flush=True)
