"""Trains small tokenizers and writes them with what Hugging Face's library makes of texts.

python golden.py [OUTPUT]
"""
import json
import pathlib
import random
import sys

from tokenizers import AddedToken, Regex, Tokenizer, models, normalizers, pre_tokenizers, processors, trainers

random.seed(0)
WORDS = """the of and to in a is that for it as was with be by on not he his but at are this have from or had an they
which one you were all her she there would their we him been has when who will no more if out so up said what its about
than into them can only other time new some could these two may first then do any like my now over such our man me even
most made after also did many off before must well back through years much where your way down should because long each
just state those people too mr how little good world make very year still see own work men day get here old between both
life being under three never know same last another while us might great since against go came right used take""".split()
LINES = [" ".join(random.choice(WORDS) + random.choice(["", "", "", "s", "ing", "ed", ","]) for _ in range(random.randint(3, 14))) for _ in range(1500)]
LINES += ["def f(x):\n    return x[1:] + 3.14 * y_2", "Größe und Maß: naïve café, déjà vu!", "我们 今天 去 公园。", "Привет, мир! Как дела?", "it's we'll I'd don't they've"] * 20
TEXTS = random.sample(LINES, 40) + LINES[-5:] + [
    "", " ", "   ", "a", "unbelievably [MASK] tokenized", "[MASK]", "x<special>y <special> z", "  leading and  double spaces ",
    "tabs\tand\nnewlines\r\n\r\n  x", "CAN'T won't I'LL 12345 3.14", "naïve façade ﬁne Ⅷ ½ ①", "\u200bzero\u00a0width\u3000wide", "x" * 150,
    "😀 emoji 👩‍👩‍👧 𝒳", "漢字かな交じり文", "नमस्ते दुनिया", "a\u0301 combining e\u0301\u0323", "!?...---((()))", "\x00\x07control\ufffd", "don’t “quote” — dash", "A.B,C;D", "ＦＵＬＬ ｗｉｄｔｈ", "#hashtag @user http://x.org/a?b=c&d=1", "İstanbul ẞ ǅ Σας",
]
out = {}


def keep(name, t, vocabulary=600, special=(), unk=None, trainer=None):
    kind = trainer or {models.WordPiece: trainers.WordPieceTrainer, models.BPE: trainers.BpeTrainer, models.Unigram: trainers.UnigramTrainer, models.WordLevel: trainers.WordLevelTrainer}[type(t.model)]
    args = {"vocab_size": vocabulary, "special_tokens": list(special), "show_progress": False}
    if kind is trainers.UnigramTrainer:
        args["unk_token"] = unk
    if name.startswith("bytes"):
        args["initial_alphabet"] = pre_tokenizers.ByteLevel.alphabet()
    t.train_from_iterator(LINES, kind(**args))
    return t


def done(name, t, length=12):
    t.no_truncation()
    t.no_padding()
    cases = [{"text": x, "ids": (e := t.encode(x)).ids, "types": e.type_ids} for x in TEXTS]
    saved = json.loads(t.to_str())
    t.enable_truncation(length)
    out[name] = {"tokenizer": saved, "cases": cases, "length": length, "cut": [t.encode(x).ids for x in TEXTS]}


BERT = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
for lower in (True, False):
    t = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    t.normalizer = normalizers.BertNormalizer(lowercase=lower)
    t.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    keep("bert", t, special=BERT)
    if lower:
        t.post_processor = processors.TemplateProcessing(single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=[("[CLS]", 2), ("[SEP]", 3)])
    else:
        t.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    done("bert-uncased" if lower else "bert-cased", t)

t = Tokenizer(models.BPE())
t.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
keep("bytes-gpt2", t, special=["<|endoftext|>"])
done("bytes-gpt2", t)

t = Tokenizer(models.BPE())
t.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
keep("bytes-roberta", t, special=["<s>", "<pad>", "</s>", "<unk>"])
t.add_special_tokens([AddedToken("<special>", lstrip=True, normalized=False)])
t.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 0))
done("bytes-roberta", t)

# The split of Llama 3 and, with \p{N} alone, of Qwen.
PATTERN = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
t = Tokenizer(models.BPE(ignore_merges=True))
t.normalizer = normalizers.NFC()
t.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(PATTERN), "isolated"), pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
keep("bytes-llama3", t, special=["<|begin_of_text|>", "<special>"])
t.post_processor = processors.Sequence([processors.ByteLevel(), processors.TemplateProcessing(single="<|begin_of_text|> $A", special_tokens=[("<|begin_of_text|>", 0)])])
done("bytes-llama3", t)

t = Tokenizer(models.BPE(unk_token="<unk>", fuse_unk=True, byte_fallback=True))
t.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
keep("llama2", t, special=["<unk>", "<s>", "</s>"] + [f"<0x{i:02X}>" for i in range(256)], vocabulary=800)
t.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
done("llama2", t)

for scheme in ("always", "first", "never"):
    t = Tokenizer(models.Unigram())
    t.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Replace(Regex(" {2,}"), " "), normalizers.Strip(left=False, right=True)])
    t.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme=scheme, split=scheme != "first")
    keep("unigram", t, special=["<s>", "<pad>", "</s>", "<unk>", "<special>"], unk="<unk>")
    t.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 2)])
    done(f"unigram-{scheme}", t)

t = Tokenizer(models.WordLevel(unk_token="[UNK]"))
t.normalizer = normalizers.Sequence([normalizers.NFD(), normalizers.StripAccents(), normalizers.Lowercase()])
t.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Whitespace(), pre_tokenizers.Digits(individual_digits=True)])
keep("words", t, special=["[UNK]"])
done("words", t)

t = Tokenizer(models.BPE(unk_token="[UNK]", end_of_word_suffix="</w>"))
t.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Punctuation("merged_with_previous"), pre_tokenizers.Split("-", "merged_with_next")])
keep("suffix", t, special=["[UNK]"], trainer=lambda **a: trainers.BpeTrainer(end_of_word_suffix="</w>", **a))
done("suffix", t)

path = pathlib.Path(sys.argv[1]) if len(sys.argv) > 1 else pathlib.Path(__file__).with_name("golden.json")
path.write_text(json.dumps(out, separators=(",", ":"), ensure_ascii=True) + "\n")
