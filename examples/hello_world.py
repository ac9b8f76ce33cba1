from gemstone_events import MicroService, exposed_method


class Hello(MicroService):
    name = "hello"

    @exposed_method()
    def greet(self, who: str) -> str:
        return f"Hello, {who}!"


if __name__ == "__main__":
    Hello().start()
