"""The small world of facet-nano: the words, names and facts that its questions are made of."""

DAYS = "Monday Tuesday Wednesday Thursday Friday Saturday Sunday".split()

# (month, days in a common year)
MONTHS = [
    ("January", 31),
    ("February", 28),
    ("March", 31),
    ("April", 30),
    ("May", 31),
    ("June", 30),
    ("July", 31),
    ("August", 31),
    ("September", 30),
    ("October", 31),
    ("November", 30),
    ("December", 31),
]

ORDINALS = (
    "first second third fourth fifth sixth seventh eighth ninth tenth eleventh twelfth".split()
)

CAPITALS = {
    "Argentina": "Buenos Aires",
    "Australia": "Canberra",
    "Austria": "Vienna",
    "Belgium": "Brussels",
    "Brazil": "Brasilia",
    "Bulgaria": "Sofia",
    "Canada": "Ottawa",
    "Chile": "Santiago",
    "China": "Beijing",
    "Colombia": "Bogota",
    "Croatia": "Zagreb",
    "Cuba": "Havana",
    "Cyprus": "Nicosia",
    "Denmark": "Copenhagen",
    "Egypt": "Cairo",
    "Estonia": "Tallinn",
    "Ethiopia": "Addis Ababa",
    "Finland": "Helsinki",
    "France": "Paris",
    "Germany": "Berlin",
    "Ghana": "Accra",
    "Greece": "Athens",
    "Hungary": "Budapest",
    "Iceland": "Reykjavik",
    "India": "New Delhi",
    "Indonesia": "Jakarta",
    "Ireland": "Dublin",
    "Italy": "Rome",
    "Jamaica": "Kingston",
    "Japan": "Tokyo",
    "Kenya": "Nairobi",
    "Latvia": "Riga",
    "Lithuania": "Vilnius",
    "Mexico": "Mexico City",
    "Morocco": "Rabat",
    "Nepal": "Kathmandu",
    "Norway": "Oslo",
    "Peru": "Lima",
    "Poland": "Warsaw",
    "Portugal": "Lisbon",
    "Romania": "Bucharest",
    "Russia": "Moscow",
    "Serbia": "Belgrade",
    "South Korea": "Seoul",
    "Spain": "Madrid",
    "Sweden": "Stockholm",
    "Switzerland": "Bern",
    "Thailand": "Bangkok",
    "Turkey": "Ankara",
    "Ukraine": "Kyiv",
    "Uruguay": "Montevideo",
    "Vietnam": "Hanoi",
}

# Places whose capital the model is to say it does not know.
OTHER_PLACES = """
Angola Bolivia Cameroon Ecuador Fiji Gabon Honduras Iraq Jordan Kuwait Laos Malta Namibia Oman
Panama Qatar Rwanda Senegal Tonga Uganda Venezuela Yemen Zambia Mali Chad Benin Togo Libya Tunisia
Algeria Somalia Sudan Guyana Paraguay Nicaragua Guatemala Haiti Barbados Grenada Dominica Mars Venus
Atlantis Narnia Texas Bavaria Scotland Wales Ohio Siberia
""".split()

NAMES = """
Anna Ben Clara David Emma Felix Grace Henry Ida Jack Karen Leo Maria Noah Olga Paul Quinn Rosa Sam
Tina Uma Victor Wanda Xavier Yara Zoe Adam Bella Carl Dora Eric Fiona George Hanna Ivan Julia Kevin
Laura Martin Nina Oscar Petra Robert Sara Thomas Ursula Vera Walter Yusuf Amir Bruno Chen Diego
Elena Farid Gina Hugo Irene Jonas Kira Lukas Mira Nadia Omar Priya Ravi Sofia Tariq Vikram Wei Aisha
Boris Celine Daniel Esther Frank Gloria Hassan Ingrid James Keiko Liam Mateo Nora Otto Peter Rachel
Simon Teresa Viktor William Alice Bob Carol Dave Eve Mallory Trent Lucy Max Mia Oliver Ella Harry
Lily Jacob Freya Arthur Isla Theo Ivy Mohammed Fatima Ali Leila Hiroshi Yuki Kenji Sakura Juan
Carmen Luis Ana Pedro Lucia Pierre Marie Jean Louise Giovanni Giulia Marco Chiara Hans Greta Klaus
Heidi Sven Astrid Lars Freja Igor Svetlana Dmitri Natasha
""".split()

WORDS = """
apple arrow autumn badge bag ball banana barrel basket beach bear bell berry bicycle bird blanket
boat book bottle box branch bread brick bridge brother brush bucket butter button cabin cake camel
camera candle carpet carrot castle cat ceiling cellar chain chair cheese cherry chicken chocolate
circle circus city clock cloud coat coffee computer cookie copper corner cotton cousin cow cradle
cream crown cup curtain dance daughter desert desk diamond dinner doctor dog dolphin donkey door
dragon drawer dream dress driver duck eagle earth egg elbow elephant engine evening eye factory
family farmer father feather field finger fire fish flag floor flower fog forest fork fox friend
frog fruit garden garlic ghost giraffe glass glove gold goose grandmother grape grass guitar hair
hammer hand harbour hat heart hedgehog helmet hill honey horse hospital hotel house ice insect
island jacket jam jar jewel journey juice jungle kangaroo kettle key king kitchen kite kitten knee
knife ladder lake lamp leaf leather lemon letter library light lion lizard lobster lock lunch
machine magnet map marble market meadow melon milk mirror money monkey moon morning mother mountain
mouse museum mushroom music nail neck needle nest night noodle nose notebook nut oak ocean office
onion orange orchestra oven owl oyster paint palace pan paper parrot peach pear pebble pencil
penguin pepper piano picture pig pillow pilot pirate planet plate pocket poet pony potato pumpkin
puzzle pyramid queen quilt rabbit radio railway rain rainbow raven rice ring river road robot rocket
roof room rope rose ruler sailor salad salt sand sandwich saw school scissors sea season shadow
sheep shell ship shirt shoe shoulder silver singer sister sky sleeve snail snake snow soap sock
soldier soup spider spoon spring squirrel stable stair star station stone storm story strawberry
street student sugar suitcase summer sun sweater swing sword table tail tailor tea teacher telephone
temple tent theatre thread throat thumb thunder ticket tiger toast tomato tongue tooth tower town
toy train treasure tree trumpet turtle umbrella uncle valley vase vegetable village violin voice
wagon walnut water weather wheel whistle wind window winter wizard wolf wood wool world writer
yellow zebra zipper
""".split()

# (unit, unit it is turned into, factor, largest value): from the larger unit to the smaller one.
CONVERSIONS = [
    ("kilometres", "metres", 1000, 999),
    ("metres", "centimetres", 100, 999),
    ("centimetres", "millimetres", 10, 999),
    ("kilograms", "grams", 1000, 999),
    ("tonnes", "kilograms", 1000, 999),
    ("litres", "millilitres", 1000, 999),
    ("hours", "minutes", 60, 99),
    ("minutes", "seconds", 60, 99),
    ("weeks", "days", 7, 99),
]

# Short and American forms, which the model reads but does not write.
UNIT_FORMS = {
    "kilometres": ["km", "kilometers"],
    "metres": ["m", "meters"],
    "centimetres": ["cm", "centimeters"],
    "millimetres": ["mm", "millimeters"],
    "kilograms": ["kg", "kilos"],
    "grams": ["g"],
    "tonnes": ["t", "tons"],
    "litres": ["l", "liters"],
    "millilitres": ["ml", "milliliters"],
    "hours": ["h"],
    "minutes": ["min"],
    "seconds": ["s"],
    "weeks": [],
    "days": [],
}

SYSTEM_TEXTS = [
    "You are a helpful assistant.",
    "You are Facet Nano.",
    "Be brief.",
    "Answer in one sentence.",
    "You are a friendly assistant. Be polite.",
    "Answer the questions of the user.",
    "You are a helpful, honest and harmless assistant.",
    "Today is a fine day. Help the user.",
    "You answer questions about numbers, words and places.",
    "Keep your answers short and clear.",
]

# What people ask of larger models. {thing}, {place} and {name} are filled in.
OUT_OF_SCOPE = [
    "Why is the {thing} blue?",
    "Why do we need a {thing}?",
    "Who invented the {thing}?",
    "Who wrote the book about the {thing}?",
    "Write a poem about a {thing}.",
    "Write me a story about a {thing} and a {thing2}.",
    "Tell me a joke about a {thing}.",
    "What is the weather in {place}?",
    "Will it rain in {place} tomorrow?",
    "How do I cook {thing} soup?",
    "How do I repair a {thing}?",
    "Translate {thing} into French.",
    "What is the German word for {thing}?",
    "What colour is a {thing}?",
    "How heavy is a {thing}?",
    "How much does a {thing} cost?",
    "Where can I buy a {thing}?",
    "Where is {place}?",
    "How many people live in {place}?",
    "Who is the president of {place}?",
    "Who is the king of {place}?",
    "What language do they speak in {place}?",
    "How far is it from {place} to {place2}?",
    "When was {place} founded?",
    "Who is {name}?",
    "How old is {name}?",
    "When was {name} born?",
    "Is {name} taller than {name2}?",
    "What did {name} say about the {thing}?",
    "Draw a {thing}.",
    "Play some {thing} music.",
    "Can a {thing} fly?",
    "Does a {thing} sleep?",
    "Is a {thing} bigger than a {thing2}?",
    "What is the difference between a {thing} and a {thing2}?",
    "What does a {thing} eat?",
    "What is a {thing}?",
    "What is the best {thing}?",
    "Explain the {thing} to me.",
    "Explain gravity.",
    "What is the meaning of life?",
    "What time is it?",
    "What is the news today?",
    "Who won the match yesterday?",
    "Should I buy a {thing} or a {thing2}?",
    "Do you like {name}?",
    "Do you have a {thing}?",
    "Summarize the history of {place}.",
    "Give me a recipe with {thing} and {thing2}.",
    "Write a program that prints {thing}.",
    "Fix this code: {thing} = {thing2}.",
    "Book a flight to {place}.",
    "Send a letter to {name}.",
    "Call {name}.",
    "Where did {name} put the {thing}?",
    "I lost my {thing}. What now?",
    "My {thing} is broken.",
    "The {thing} is on the {thing2}.",
    "I like the {thing}.",
    "I am sad about my {thing}.",
]

OUT_OF_SCOPE_REWORDED = [
    "How was the {thing} made?",
    "Which {thing} should {name} take to {place}?",
    "Compose a song for {name}.",
    "Is there a {thing} in {place}?",
    "Give me advice on my {thing}.",
]
